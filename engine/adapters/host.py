"""The adapters of one loaded checkpoint: LoRAs kept on the device, and hooks while they act."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.adapters.layers import Layer, stack_layers
from engine.adapters.load import Lora, load_lora
from engine.adapters.names import TEXT_ENCODERS, UNET, Target, name_table
from engine.adapters.rows import AdapterSet, RowMap
from engine.adapters.side_path import add_updates
from engine.errors import WeightsUnavailable

DEFAULT_MAX_BYTES = 4 * 2**30
_MAX_STACKS = 4

# A hook acts only in the context that put it on: a forward of the same modules on another thread
# sees another value here and runs without adapters.
_UNET_ROWS: ContextVar[RowMap | None] = ContextVar("unet_rows", default=None)
_TEXT_ROWS: ContextVar[RowMap | None] = ContextVar("text_rows", default=None)


class AdapterHost:
    """LoRAs for the UNet and the text encoders of one checkpoint.

    Base weights are read for names, shapes and DoRA norms, and never written. Not thread-safe, as
    the engine that owns it.

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
        encoders = dict(zip(TEXT_ENCODERS, text_encoders, strict=False))
        self._models: dict[str, nn.Module] = {UNET: unet, **encoders}
        self._max_bytes = max_bytes
        self._loras: OrderedDict[tuple[object, ...], Lora] = OrderedDict()
        self._stacks: OrderedDict[tuple[str, tuple[Lora, ...]], tuple[Layer, ...]] = OrderedDict()

    def __deepcopy__(self, memo: dict[int, Any]) -> AdapterHost:
        """A host of the copied models; what is loaded stays with the original."""
        unet, *text_encoders = (copy.deepcopy(each, memo) for each in self._models.values())
        return AdapterHost(unet, text_encoders, max_bytes=self._max_bytes)

    @cached_property
    def names(self) -> dict[str, Target]:
        """Every name a LoRA file may use, see `name_table`."""
        encoders = [model for name, model in self._models.items() if name != UNET]
        return name_table(self._models[UNET], encoders)

    @property
    def num_bytes(self) -> int:
        """Device memory of the LoRAs kept and of their stacks."""
        return self._lora_bytes + self._stack_bytes

    def lora(self, path: Path) -> Lora:
        """The LoRA of that file, loaded where it is not kept or the file has changed.

        One that is put out lives on for as long as a lane holds it.

        Raises:
            WeightsUnavailable, IncompatibleAdapter, torch.OutOfMemoryError: see `load_lora`; what
                is kept is unchanged.
        """
        key = (path, *_version(path), self._device)
        lora = self._loras.get(key)
        if lora is None:
            lora = load_lora(path, self.names)
            self._loras[key] = lora
        self._loras.move_to_end(key)
        while len(self._loras) > 1 and self._lora_bytes > self._max_bytes:
            _, oldest = self._loras.popitem(last=False)
            for stack in [each for each in self._stacks if oldest in each[1]]:
                del self._stacks[stack]
        return lora

    def clear(self) -> None:
        """Lets go of everything on the device."""
        self._loras.clear()
        self._stacks.clear()

    @contextmanager
    def unet_rows(self, rows: Sequence[AdapterSet]) -> Iterator[None]:
        """Within it, a forward of the UNet with `len(rows)` rows gives each row its adapters."""
        with self._acting([UNET], rows, _UNET_ROWS):
            yield

    @contextmanager
    def text_encoding(self, adapters: AdapterSet) -> Iterator[None]:
        """Within it, every row of every text encoder forward uses `adapters`."""
        with self._acting(self._models.keys() - {UNET}, [adapters], _TEXT_ROWS):
            yield

    @property
    def _lora_bytes(self) -> int:
        return sum(lora.num_bytes for lora in self._loras.values())

    @property
    def _stack_bytes(self) -> int:
        return sum(layer.num_bytes for layers in self._stacks.values() for layer in layers)

    @property
    def _device(self) -> torch.device:
        return next(self._models[UNET].parameters()).device

    @contextmanager
    def _acting(
        self,
        models: Iterable[str],
        rows: Sequence[AdapterSet],
        variable: ContextVar[RowMap | None],
    ) -> Iterator[None]:
        if not any(weight != 0 for row in rows for _, weight in row):
            yield
            return
        dtype = next(self._models[UNET].parameters()).dtype
        row_map = RowMap(rows, device=self._device, dtype=dtype)
        with ExitStack() as hooks:
            for model in models:
                for layer in self._layers(model, row_map.loras):
                    hook = partial(_hook, layer, row_map, variable)
                    hooks.callback(layer.module.register_forward_hook(hook).remove)
            token = variable.set(row_map)
            hooks.callback(variable.reset, token)
            yield

    def _layers(self, model: str, loras: tuple[Lora, ...]) -> tuple[Layer, ...]:
        """Stacked updates; the last few mixes are kept, for the next steps use the same."""
        key = (model, loras)
        if key not in self._stacks:
            self._stacks[key] = stack_layers(loras, model, self._models[model])
            while len(self._stacks) > 1 and (
                len(self._stacks) > _MAX_STACKS or self._stack_bytes > self._max_bytes
            ):
                self._stacks.popitem(last=False)
        self._stacks.move_to_end(key)
        return self._stacks[key]


def _hook(
    layer: Layer,
    rows: RowMap,
    variable: ContextVar[RowMap | None],
    _module: nn.Module,
    inputs: tuple[Any, ...],
    output: torch.Tensor,
) -> torch.Tensor | None:
    if variable.get() is not rows:
        return None
    return add_updates(layer, rows, inputs[0], output)


def _version(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as exc:
        raise WeightsUnavailable(f"{path}: cannot be read ({exc.strerror})") from exc
    return status.st_mtime_ns, status.st_size
