"""What a supervisor does now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from api.errors import StoreUnavailable

logger = logging.getLogger(__name__)


class Chore:
    """Something to be done every `period_s`, or after `retry_s` where the store is away."""

    def __init__(self, work: Callable[[], None], period_s: float, *, retry_s: float) -> None:
        self._work = work
        self._period_s = period_s
        self._retry_s = retry_s
        self._due_at = 0.0

    def hurry(self) -> None:
        """Make it due."""
        self._due_at = 0.0

    def do_if_due(self) -> None:
        """Do it, if its time has come."""
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + self._period_s  # first: a signal may hurry it meanwhile
        try:
            self._work()
        except StoreUnavailable as exc:
            logger.warning("the task store does not answer: %s", exc)
            self._due_at = time.monotonic() + self._retry_s
