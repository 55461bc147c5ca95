"""Backdrop as a library.

    registry = load_registry(Path("models.yaml"))
    images = Engine(registry).generate(GenerationJob("job-1", registry.default_model, foreground))

Every name is imported on first use: `Engine` brings torch with it, and a program that only talks to
a server (`backdrop.client`) needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.engine import Engine
    from engine.errors import EngineError, EngineFault, JobError
    from engine.job import AdapterWeight, GeneratedImage, GenerationJob, ResizeMode, Sampler
    from engine.registry import Registry, load_registry
    from engine.sweep import Axis

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

_HOMES = {
    "Engine": "engine.engine",
    **dict.fromkeys(("EngineError", "EngineFault", "JobError"), "engine.errors"),
    **dict.fromkeys(
        ("AdapterWeight", "GeneratedImage", "GenerationJob", "ResizeMode", "Sampler"), "engine.job"
    ),
    **dict.fromkeys(("Registry", "load_registry"), "engine.registry"),
    "Axis": "engine.sweep",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
