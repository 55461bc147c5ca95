"""Where queued tasks stand, without a query for each that asks."""

from __future__ import annotations

import threading
import time

from sqlalchemy import select

from api.database import Database
from api.schema import tasks as t
from api.tasks import TaskStatus

MAX_AGE_S = 1.0

# The order in which `SqlTaskStore.claim` takes them.
_QUEUE = (
    select(t.c.uid)
    .where(t.c.state == TaskStatus.QUEUED)
    .order_by(t.c.priority.desc(), t.c.vtime, t.c.seq)
)


class QueuePositions:
    """The order of the queue, read as a whole at most once in `max_age_s` however many ask.

    To count the tasks before one costs as much as to read them all once 10,000 wait, and each
    poller would pay it anew.

    Args:
        database: of the task store.
        max_age_s: a position may be so old.
    """

    def __init__(self, database: Database, *, max_age_s: float = MAX_AGE_S) -> None:
        self._database = database
        self._max_age_s = max_age_s
        self._positions: dict[str, int] = {}
        self._stale_at = 0.0
        self._lock = threading.Lock()

    def of(self, uid: str) -> int:
        """Place of a queued task, 1 for the next to run. Blocking: may read the database.

        One that was queued since the last look stands behind all others.
        """
        with self._lock:
            if time.monotonic() >= self._stale_at:
                self._positions = self._read()
                self._stale_at = time.monotonic() + self._max_age_s
            positions = self._positions
        return positions.get(uid, len(positions) + 1)

    def _read(self) -> dict[str, int]:
        with self._database.read() as connection:
            uids = connection.scalars(_QUEUE).all()
        return {uid: position for position, uid in enumerate(uids, start=1)}
