"""A function that reports through a callback, run from one report to the next."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Stopped(BaseException):
    """Raised inside the function when nobody wants its reports any more.

    No `Exception`, so that a library which catches those does not carry on.
    """


class Stepwise(Generic[T]):
    """Runs `work(report)` step by step: each `next` goes on until it has reported once more.

    The work has a thread of its own, for it cannot be left in the middle otherwise. But that
    thread runs only while its owner waits in `next` or `close`, never beside the owner, so that
    what both touch needs no lock. It ends with the work, with `close`, or when the owner forgets
    this object.

    Args:
        work: must not refer to this object.
    """

    def __init__(self, work: Callable[[Callable[[T], None]], None]) -> None:
        self._baton: _Baton[T] = _Baton()
        self._thread = threading.Thread(
            target=_run, args=(work, self._baton), name="stepwise", daemon=True
        )
        self._finalizer = weakref.finalize(self, _stop, self._thread, self._baton)

    def next(self) -> T | None:
        """What the work reports next; None when it has ended.

        Raises:
            BaseException: whatever the work raised; then it has ended.
        """
        if not self._finalizer.alive:
            return None
        if self._thread.ident is None:
            self._thread.start()
        self._baton.to_work.put(True)
        outcome = self._baton.to_owner.get()
        if isinstance(outcome, _Report):
            return outcome.value
        self._finalizer.detach()
        self._thread.join()
        if outcome is not None:
            raise outcome
        return None

    def close(self) -> None:
        """Ends the work where it stands, by raising `Stopped` there; its clean-up still runs.

        Raises:
            BaseException: the clean-up failed.
        """
        if self._finalizer.detach() is not None:
            outcome = _stop(self._thread, self._baton)
            if outcome is not None:
                raise outcome


@dataclass(frozen=True, slots=True)
class _Report(Generic[T]):
    value: T


@dataclass(slots=True)
class _Baton(Generic[T]):
    """Whoever last got something from the other side's queue may run."""

    to_work: SimpleQueue[bool] = field(default_factory=SimpleQueue)  # False: stop
    # A report, or how the work ended: the exception, or None.
    to_owner: SimpleQueue[_Report[T] | BaseException | None] = field(default_factory=SimpleQueue)
    is_stopped: bool = False

    def report(self, value: T) -> None:
        """Hands `value` to the owner and waits until it is wanted to go on."""
        if not self.is_stopped:
            self.to_owner.put(_Report(value))
            self.wait()
        if self.is_stopped:
            raise Stopped

    def wait(self) -> None:
        self.is_stopped = not self.to_work.get()


def _run(work: Callable[[Callable[[T], None]], None], baton: _Baton[T]) -> None:
    baton.wait()
    outcome: BaseException | None = None
    try:
        if not baton.is_stopped:
            work(baton.report)
    except Stopped:
        pass
    except BaseException as exc:  # raised again where the owner waits
        outcome = exc
    baton.to_owner.put(outcome)


def _stop(thread: threading.Thread, baton: _Baton[T]) -> BaseException | None:
    """Ends the work if it has begun; what its clean-up raised."""
    if thread.ident is None:
        return None
    baton.to_work.put(False)
    outcome = baton.to_owner.get()
    thread.join()
    assert not isinstance(outcome, _Report)
    return outcome
