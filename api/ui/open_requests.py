"""The page's requests under way: its streams end with the service instead of holding it up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class OpenRequests:
    """Requests that have not been answered in full; used in the event loop, but for `end`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Around one request; returns early where `end` stopped it."""
        task = asyncio.current_task()
        assert task is not None
        self._loop = asyncio.get_running_loop()
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._ended:
                raise
        finally:
            self._tasks.discard(task)

    def end(self) -> None:
        """Stop them all. May be called from another thread."""
        self._ended = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
