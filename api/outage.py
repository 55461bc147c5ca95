"""A database that is away is told of at length once, and then in a line for each who needed it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator

from api.errors import StoreUnavailable, TaskStoreError

_MAX_CHARS = 300


class Outage:
    """Whether a database is away, as those find who use it. Thread-safe.

    Reads and writes are told apart: a full disk lets the ones pass and not the others, so that each
    read would end an outage that the next write begins.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failing: set[str] = set()
        self._failed_at = 0.0

    @contextlib.contextmanager
    def watched(self, kind: str) -> Iterator[None]:
        """Notes whether a transaction of this kind goes well, and marks the error that is news."""
        began_at = time.monotonic()
        try:
            yield
        except StoreUnavailable as exc:
            with self._lock:
                exc.begins_outage = not self._failing
                self._failing.add(kind)
                self._failed_at = time.monotonic()
            raise
        if self._failing:
            with self._lock:
                if began_at > self._failed_at:  # else it is of the time before
                    self._failing.discard(kind)


def warn_of(logger: logging.Logger, what: str, exc: TaskStoreError) -> None:
    """Logs `what` did not go and why, in one line; with a traceback where an outage begins."""
    logger.warning("%s: %s", what, one_line(exc), exc_info=exc if exc.begins_outage else None)


def one_line(exc: object) -> str:
    """What an error says, up to 300 characters; drivers write several lines."""
    return " ".join(str(exc).split())[:_MAX_CHARS]
