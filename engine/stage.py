"""Work off the step loop, on a thread beside it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
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
    """One thread at a time that does what it is given, first come first served, as part of stepping.

    A thread ends when it has nothing left to do, and the next work gets a new one. OpenMP gives
    every thread that runs kernels a team of its own, and while all teams together are larger than
    the machine, libgomp puts the waiting threads of each to sleep at once: with idle teams kept
    here, a UNet forward of 150 ms on two cores took a fifth longer. The threads are daemons, so
    that a process that is told to end does not wait for them.

    Args:
        name: of the threads.
        signal: set whenever something is done.
    """

    def __init__(self, name: str, signal: threading.Event) -> None:
        self._name = name
        self._signal = signal
        self._lock = threading.Lock()
        self._waiting: deque[tuple[K, Callable[[], T]]] = deque()
        self._done: deque[Outcome[K, T]] = deque()
        self._running = False

    def submit(self, key: K, work: Callable[[], T]) -> None:
        """Has `work` done; its outcome comes out of `collect` under `key`."""
        with self._lock:
            self._waiting.append((key, work))
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def collect(self) -> list[Outcome[K, T]]:
        """What was done since the last call, in order."""
        return [self._done.popleft() for _ in range(len(self._done))]

    def _run(self) -> None:
        while (item := self._next()) is not None:
            key, work = item
            future: Future[T] = Future()
            try:
                with stepping():
                    future.set_result(work())
            except BaseException as exc:  # handed to whoever asks for the result
                future.set_exception(exc)
            self._done.append(Outcome(key, future))
            self._signal.set()
            del key, future, work, item  # what is done keeps nothing alive

    def _next(self) -> tuple[K, Callable[[], T]] | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._running = False
            return None
