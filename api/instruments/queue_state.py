"""What waits and what runs, by model and by key, from one query that is asked once a second."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import case, func, select

from api.database import Database
from api.schema import api_keys
from api.schema import tasks as t
from api.tasks import TaskStatus

CACHE_S = 1.0
_KEY_CHARS = 12


@dataclass(frozen=True, slots=True)
class QueueLine:
    """Tasks alike.

    Attributes:
        state: queued or running.
        model: that they need.
        key: of their owner, see `key_name`.
        tasks: how many.
        oldest_age_s: of a queued one since it was submitted, of a running one since its first start.
    """

    state: str
    model: str
    key: str
    tasks: int
    oldest_age_s: float


class QueueState:
    """The unfinished tasks of a store; thread-safe.

    Args:
        database: of the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._lines: list[QueueLine] = []
        self._until = 0.0

    def lines(self) -> list[QueueLine]:
        """By state, model and key; at most `CACHE_S` old. Blocking.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        with self._lock:
            if time.monotonic() >= self._until:
                self._lines = self._read()
                self._until = time.monotonic() + CACHE_S
            return self._lines

    def _read(self) -> list[QueueLine]:
        since = case(
            (t.c.state == TaskStatus.RUNNING, func.coalesce(t.c.started_at, t.c.created_at)),
            else_=t.c.created_at,
        )
        query = (
            select(
                t.c.state,
                t.c.model_key,
                t.c.tenant,
                func.count(),
                self._database.now - func.min(since),
            )
            .where(t.c.finished_at.is_(None))
            .group_by(t.c.state, t.c.model_key, t.c.tenant)
        )
        with self._database.read() as connection:
            labels = {
                row.public_key: row.label
                for row in connection.execute(select(api_keys.c.public_key, api_keys.c.label))
            }
            rows = connection.execute(query).all()
        return _joined(
            QueueLine(state.value, model, key_name(tenant, labels), count, max(0.0, age))
            for state, model, tenant, count, age in rows
        )


def key_name(public_key: str, labels: Mapping[str, str]) -> str:
    """What metrics call a key: its label, without one the start of its SHA-256; never the key."""
    if label := labels.get(public_key):
        return label
    return hashlib.sha256(public_key.encode()).hexdigest()[:_KEY_CHARS]


def _joined(lines: Iterable[QueueLine]) -> list[QueueLine]:
    """Keys of one label are one."""
    joined: dict[tuple[str, str, str], QueueLine] = {}
    for line in lines:
        name = (line.state, line.model, line.key)
        other = joined.get(name, QueueLine(*name, 0, 0.0))
        age = max(line.oldest_age_s, other.oldest_age_s)
        joined[name] = QueueLine(*name, line.tasks + other.tasks, age)
    return [joined[name] for name in sorted(joined)]
