"""What is done about a device that ran out of memory."""

from __future__ import annotations

import torch

from engine.errors import EngineError, GpuOutOfMemory


def empty_cache(device: torch.device) -> None:
    """Gives back to the device what torch keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def as_engine_error(exc: EngineError | torch.OutOfMemoryError) -> EngineError:
    """The same as an error of the engine."""
    if isinstance(exc, EngineError):
        return exc
    return GpuOutOfMemory("the device ran out of memory")
