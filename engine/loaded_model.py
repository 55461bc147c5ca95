"""What the model cache holds: a checkpoint of the engine's own loop, or a pipeline of diffusers."""

from __future__ import annotations

from typing import TypeAlias

import torch

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.checkpoint_copy import copy_checkpoint
from engine.default_dtype import loading
from engine.inpaint_pipeline import InpaintPipeline, copy_pipeline, load_pipeline
from engine.memory import checkpoint_bytes
from engine.pipeline_info import PipelineInfo
from engine.registry import MainModel

LoadedModel: TypeAlias = Checkpoint | InpaintPipeline


def load_model(model: MainModel, *, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """Loads whatever the entry names.

    Raises:
        WeightsUnavailable: a file is missing, truncated or does not fit its config.
        GpuOutOfMemory: the device cannot hold the model.
    """
    load = load_pipeline if isinstance(model.info, PipelineInfo) else load_checkpoint
    with loading():
        return load(model, device=device, dtype=dtype)


def copy_model(loaded: LoadedModel, device: torch.device) -> LoadedModel:
    """The same on another device; the original stays as it is.

    Raises:
        GpuOutOfMemory: the device cannot hold it; what was copied is freed again.
    """
    if isinstance(loaded, InpaintPipeline):
        return copy_pipeline(loaded, device)
    return copy_checkpoint(loaded, device)


def bytes_on(loaded: LoadedModel, device: torch.device) -> int:
    """Memory it takes, or would take, on `device`."""
    if isinstance(loaded, InpaintPipeline):
        return loaded.num_bytes_on(device)
    return checkpoint_bytes(loaded)
