"""Backdrop as a library.

    registry = load_registry(Path("models.yaml"))
    images = Engine(registry).generate(GenerationJob("job-1", registry.default_model, foreground))

`Engine` is imported on first use: it brings torch with it, the other names do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, EngineFault, JobError
from engine.job import AdapterWeight, GeneratedImage, GenerationJob, ResizeMode, Sampler
from engine.registry import Registry, load_registry
from engine.sweep import Axis

if TYPE_CHECKING:
    from engine.engine import Engine

__version__ = "0.1.0"

__all__ = [
    "AdapterWeight",
    "Axis",
    "Engine",
    "EngineError",
    "EngineFault",
    "GeneratedImage",
    "GenerationJob",
    "JobError",
    "Registry",
    "ResizeMode",
    "Sampler",
    "__version__",
    "load_registry",
]


def __getattr__(name: str) -> Any:
    if name == "Engine":
        from engine.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
