"""Loaded checkpoints, least recently used out first."""

from __future__ import annotations

from collections import OrderedDict

import torch

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.registry import MainModel


class ModelCache:
    """At most `max_models` checkpoints on one device."""

    def __init__(self, *, device: torch.device, dtype: torch.dtype, max_models: int) -> None:
        self._device = device
        self._dtype = dtype
        self._max_models = max_models
        self._loaded: OrderedDict[str, Checkpoint] = OrderedDict()

    def get(self, model: MainModel) -> Checkpoint:
        """The loaded checkpoint of `model`.

        A checkpoint that is put out lives on for as long as a lane still holds it.

        Raises:
            WeightsUnavailable, GpuOutOfMemory: see `load_checkpoint`; the cache is unchanged
                but for entries that made room.
        """
        if model.name in self._loaded:
            self._loaded.move_to_end(model.name)
            return self._loaded[model.name]
        while len(self._loaded) >= self._max_models:
            self._loaded.popitem(last=False)
        checkpoint = load_checkpoint(model, device=self._device, dtype=self._dtype)
        self._loaded[model.name] = checkpoint
        return checkpoint
