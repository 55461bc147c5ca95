"""The adapters of one loaded checkpoint: LoRAs kept on the device, and hooks while they act."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any

import torch
from torch import nn

from engine.adapters.hooks import Hooks
from engine.adapters.load import Lora, load_lora
from engine.adapters.lora_cache import LoraCache, LoraCounts
from engine.adapters.names import TEXT_ENCODERS, UNET, Target, name_table
from engine.adapters.rows import AdapterSet, RowMap, row_map
from engine.adapters.stack_cache import StackCache

DEFAULT_MAX_BYTES = 4 * 2**30
_MAX_ROW_MAPS = 16


class AdapterHost:
    """LoRAs for the UNet and the text encoders of one checkpoint.

    Base weights are read for names, shapes and DoRA norms, and never written. `lora`,
    `text_encoding`, `num_bytes` and `counts` may be used from any thread; what runs the UNet is one
    thread, which uses the rest.

    Args:
        unet: diffusers' UNet2DConditionModel.
        text_encoders: one or two CLIP text models.
        max_bytes: device memory of the LoRAs kept, and again of their stacks; a single larger one
            is kept alone.
    """

    def __init__(
        self,
        unet: nn.Module,
        text_encoders: Sequence[nn.Module],
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self._unet = unet
        self._encoders = dict(zip(TEXT_ENCODERS, text_encoders, strict=False))
        self._max_bytes = max_bytes
        self._loras = LoraCache(self._load, max_bytes, self._forget)
        self._unet_stacks = StackCache({UNET: unet}, max_bytes)
        self._text_stacks = StackCache(self._encoders, max_bytes)
        self._unet_hooks = Hooks("unet_adapters")
        self._text_hooks = Hooks("text_adapters")
        self._encoding = RLock()
        self._row_maps: dict[tuple[AdapterSet, ...], RowMap | None] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> AdapterHost:
        """A host of the copied models; what is loaded stays with the original."""
        unet = copy.deepcopy(self._unet, memo)
        encoders = [copy.deepcopy(each, memo) for each in self._encoders.values()]
        copy.deepcopy(self._unet_hooks, memo).take_off()
        return AdapterHost(unet, encoders, max_bytes=self._max_bytes)

    @cached_property
    def names(self) -> dict[str, Target]:
        """Every name a LoRA file may use, see `name_table`."""
        return name_table(self._unet, list(self._encoders.values()))

    @property
    def num_bytes(self) -> int:
        """Device memory of the LoRAs kept and of their stacks."""
        stacks = self._unet_stacks.num_bytes + self._text_stacks.num_bytes
        return self._loras.num_bytes + stacks

    @property
    def counts(self) -> LoraCounts:
        """How often a LoRA was here, read from its file, or put out."""
        return self._loras.counts

    def lora(self, path: Path) -> Lora:
        """The LoRA of that file, loaded where it is not kept or the file has changed.

        One that is put out lives on for as long as a lane holds it.

        Raises:
            WeightsUnavailable, IncompatibleAdapter, torch.OutOfMemoryError: see `load_lora`; what
                is kept is unchanged.
        """
        return self._loras.get(path)

    def clear(self) -> None:
        """Lets go of everything on the device."""
        self._loras.clear()
        self._unet_stacks.clear()
        self._text_stacks.clear()
        self._row_maps.clear()

    @contextmanager
    def unet_rows(self, rows: Sequence[AdapterSet]) -> Iterator[None]:
        """Within it, a forward of the UNet with `len(rows)` rows gives each row its adapters.

        The hooks stay for the next forward. One without adapters takes them off.
        """
        mapped = self._row_map(tuple(rows))
        if mapped is None:
            self.rest()
            yield
            return
        with self._unet_hooks.acting(mapped, self._unet_stacks.get(mapped.sets)):
            yield

    def rest(self) -> None:
        """Leaves the UNet as it is without adapters, until a forward needs them again."""
        self._unet_hooks.take_off()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it, on any thread, the models can be copied: no hook is put on or taken off."""
        with self._encoding, self._unet_hooks.held():
            yield

    @contextmanager
    def text_encoding(self, adapters: AdapterSet) -> Iterator[None]:
        """Within it, every row of every text encoder forward on this thread uses `adapters`.

        Others wait: hooks must not be put on while another thread runs the encoders.
        """
        mapped = row_map([adapters], self._device)
        with self._encoding:
            if mapped is None:
                yield
                return
            try:
                with self._text_hooks.acting(mapped, self._text_stacks.get(mapped.sets)):
                    yield
            finally:
                self._text_hooks.take_off()

    @property
    def _device(self) -> torch.device:
        return next(self._unet.parameters()).device

    def _row_map(self, rows: tuple[AdapterSet, ...]) -> RowMap | None:
        if rows not in self._row_maps:
            while len(self._row_maps) >= _MAX_ROW_MAPS:
                del self._row_maps[next(iter(self._row_maps))]
            self._row_maps[rows] = row_map(rows, self._device)
        return self._row_maps[rows]

    def _load(self, path: Path) -> Lora:
        return load_lora(path, self.names)

    def _forget(self, lora: Lora) -> None:
        self._unet_stacks.forget(lora)
        self._text_stacks.forget(lora)
