"""When the compute child tells its supervisor what the engine has counted."""

from __future__ import annotations

import time
from collections.abc import Callable

from api.messages import EngineReport
from engine.engine import Engine

PERIOD_S = 1.0


class EngineReports:
    """Reports while there is something new, then falls silent.

    Nothing is told of a loop that turns and gets nowhere: a child that says nothing for too long is
    taken for hung, and its own counting must not keep it alive.

    Args:
        engine: whose counts.
        tell: takes a report.
    """

    def __init__(self, engine: Engine, tell: Callable[[EngineReport], None]) -> None:
        self._tally = engine.tally
        self._tell = tell
        self._told = EngineReport(engine.tally.counts, engine.tally.state)
        self._due_at = 0.0

    def tell_if_due(self) -> float | None:
        """Call it after every step; in so many seconds it should be called anyway, if at all."""
        now = time.monotonic()
        if now < self._due_at:
            return self._due_at - now
        self._due_at = now + PERIOD_S
        report = EngineReport(self._tally.counts, self._tally.state)
        same_models = report.state.models == self._told.state.models
        if report.counts == self._told.counts and same_models:
            return None
        self._told = report
        self._tell(report)
        return PERIOD_S
