"""Forward hooks that add what the adapters of the running forward do to a module's output."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from engine.adapters.layers import Layer
from engine.adapters.rows import RowMap
from engine.adapters.side_path import add_updates

# What acts in the forward of this thread: the same modules run on another one see nothing here.
_Acting = tuple[RowMap, Mapping[nn.Module, Layer]]


class Hooks:
    """The hooks on the modules of some models, put on where they are needed and left there.

    A hook acts within `acting` alone. One thread runs the models; another one may hold the hooks
    still to copy them.

    Args:
        name: tells what acts in these hooks from what acts in others.
    """

    def __init__(self, name: str) -> None:
        self._acting: ContextVar[_Acting | None] = ContextVar(name, default=None)
        self._handles: dict[nn.Module, RemovableHandle] = {}
        self._lock = Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Hooks:
        """Of the copied models, without effect and there only to be taken off."""
        copied = memo[id(self)] = Hooks(self._acting.name)
        copied._handles = copy.deepcopy(self._handles, memo)
        return copied

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it none is put on or taken off."""
        with self._lock:
            yield

    @contextmanager
    def acting(self, rows: RowMap, layers: Mapping[nn.Module, Layer]) -> Iterator[None]:
        """Within it a forward on this thread adds `layers` to its rows."""
        self._put_on(layers)
        token = self._acting.set((rows, layers))
        try:
            yield
        finally:
            self._acting.reset(token)

    def take_off(self) -> None:
        """Leaves the modules as they were before the first hook."""
        if not self._handles:
            return
        with self._lock:
            while self._handles:
                self._handles.popitem()[1].remove()

    def _put_on(self, modules: Mapping[nn.Module, Layer]) -> None:
        if modules.keys() <= self._handles.keys():
            return
        with self._lock:
            for module in modules.keys() - self._handles.keys():
                self._handles[module] = module.register_forward_hook(self._hook)

    def _hook(
        self, module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor
    ) -> torch.Tensor | None:
        acting = self._acting.get()
        layer = None if acting is None else acting[1].get(module)
        if acting is None or layer is None:
            return None
        return add_updates(layer, acting[0], inputs[0], output)
