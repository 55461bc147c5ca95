"""Keeps torch's default dtype still while images are in flight.

transformers and diffusers set that default to a model's dtype while they build its modules. It
belongs to the whole process: samplers that step on another thread meanwhile would round to it, and
their images would depend on what else happens to be loaded. So building and stepping take turns.
Reading the weights, the long part, is not concerned.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from threading import Condition

import torch

_set_default_dtype = torch.set_default_dtype


class _Turns:
    """Many may step at once or one may change the default; who wants to change it goes first."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._stepping = 0
        self._changing = False

    @contextmanager
    def stepping(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._changing)
            self._stepping += 1
        try:
            yield
        finally:
            with self._condition:
                self._stepping -= 1
                self._condition.notify_all()

    def begin_change(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: not self._changing)
            self._changing = True
            self._condition.wait_for(lambda: self._stepping == 0)

    def end_change(self) -> None:
        with self._condition:
            self._changing = False
            self._condition.notify_all()


class _Loader:
    """One thread's loading: the default dtype it found, and whether it has changed it."""

    def __init__(self) -> None:
        self.found = torch.get_default_dtype()
        self.has_turn = False

    def set(self, dtype: torch.dtype) -> None:
        if dtype != self.found and not self.has_turn:
            _turns.begin_change()
            self.has_turn = True
        _set_default_dtype(dtype)
        if dtype == self.found:
            self.end_turn()

    def end_turn(self) -> None:
        if self.has_turn:
            self.has_turn = False
            _turns.end_change()


_turns = _Turns()
_loader: ContextVar[_Loader | None] = ContextVar("loader", default=None)


def stepping() -> AbstractContextManager[None]:
    """Within it torch's default dtype does not change through `loading` on another thread."""
    return _turns.stepping()


@contextmanager
def loading() -> Iterator[None]:
    """Within it, on this thread, a change of torch's default dtype waits for its turn.

    The default is put back at the end whatever happens: diffusers leaves it changed when a config
    cannot be built. Not to be entered while `stepping`.
    """
    loader = _Loader()
    token = _loader.set(loader)
    torch.set_default_dtype = _set_in_turn
    try:
        yield
    finally:
        loader.set(loader.found)
        _loader.reset(token)


def _set_in_turn(dtype: torch.dtype) -> None:
    loader = _loader.get()
    if loader is None:
        _set_default_dtype(dtype)
    else:
        loader.set(dtype)
