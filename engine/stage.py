"""Work off the step loop, on a thread of its own."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from engine.default_dtype import stepping

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[K, T]):
    """What came of one piece of work; `result` raises what the work raised."""

    key: K
    future: Future[T]

    def result(self) -> T:
        """The value, at once."""
        return self.future.result(timeout=0)


class Stage(Generic[K, T]):
    """One thread that does what it is given, first come first served, as a part of stepping.

    The thread starts with the first piece of work, is a daemon, so that a process that is told to
    end does not wait for it, and ends with its stage.

    Args:
        name: of the thread.
        signal: set whenever something is done.
    """

    def __init__(self, name: str, signal: threading.Event) -> None:
        self._name = name
        self._signal = signal
        self._inbox: SimpleQueue[tuple[K, Future[T], Callable[[], T]] | None] = SimpleQueue()
        self._done: deque[Outcome[K, T]] = deque()
        self._thread: threading.Thread | None = None

    def submit(self, key: K, work: Callable[[], T]) -> None:
        """Has `work` done; its outcome comes out of `collect` under `key`."""
        if self._thread is None:
            arguments = (self._inbox, self._done, self._signal)
            self._thread = threading.Thread(
                target=_run, args=arguments, name=self._name, daemon=True
            )
            self._thread.start()
            weakref.finalize(self, self._inbox.put, None)
        self._inbox.put((key, Future(), work))

    def collect(self) -> list[Outcome[K, T]]:
        """What was done since the last call, in order."""
        return [self._done.popleft() for _ in range(len(self._done))]


def _run(
    inbox: SimpleQueue[tuple[K, Future[T], Callable[[], T]] | None],
    done: deque[Outcome[K, T]],
    signal: threading.Event,
) -> None:
    """Knows the queues alone: a thread that held its stage would keep it from ending."""
    while (item := inbox.get()) is not None:
        key, future, work = item
        try:
            with stepping():
                future.set_result(work())
        except BaseException as exc:  # handed to whoever asks for the result
            future.set_exception(exc)
        done.append(Outcome(key, future))
        signal.set()
        del key, future, work, item  # while it waits it keeps nothing alive
