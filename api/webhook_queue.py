"""Webhooks that are still to be called, beside the tasks they belong to."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, exc, insert, or_, select, update

from api.database import Database
from api.schema import tasks as t
from api.schema import webhooks as w

MAX_ATTEMPTS = 8
FIRST_DELAY_S = 10.0
MAX_DELAY_S = 3600.0


def retry_delay_s(attempts: int) -> float:
    """Seconds from the beginning of attempt number `attempts`, from 1, to the next one."""
    return float(min(MAX_DELAY_S, FIRST_DELAY_S * 3 ** (attempts - 1)))


@dataclass(frozen=True, slots=True)
class Webhook:
    """A call that is due; `attempts` counts this one."""

    task_uid: str
    url: str
    attempts: int


class WebhookQueue:
    """Durable: an attempt is counted before it is made, and what is not removed comes again.

    So every call is made at least once while the service runs, and at most `MAX_ATTEMPTS` times,
    whatever crashes. Every method is one short transaction. Blocking.

    Args:
        database: of the task store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, task_uid: str, url: str) -> None:
        """Have `url` called once the task has ended; the first URL of a task stays."""
        row = insert(w).values(task_uid=task_uid, url=url, due_at=self._database.now)
        try:
            with self._database.write() as connection:
                connection.execute(row)
        except exc.IntegrityError:
            return

    def take(self, limit: int) -> list[Webhook]:
        """Up to `limit` calls that are due; nobody else gets them before their next attempt."""
        due_now = w.c.due_at <= self._database.now
        due = (
            select(w.c.task_uid, w.c.url, w.c.attempts)
            .outerjoin(t, t.c.uid == w.c.task_uid)
            .where(
                due_now,
                or_(t.c.finished_at.is_not(None), t.c.uid.is_(None)),
            )
            .order_by(w.c.due_at)
            .limit(limit)
        )
        with self._database.read() as connection:  # mostly there is nothing, and no lock is taken
            if connection.execute(due.limit(1)).first() is None:
                return []
        taken = []
        with self._database.write() as connection:
            connection.execute(delete(w).where(w.c.attempts >= MAX_ATTEMPTS, due_now))
            rows = connection.execute(due.with_for_update(skip_locked=True, of=w)).all()
            for row in rows:
                attempts = row.attempts + 1
                due_at = self._database.now + retry_delay_s(attempts)
                connection.execute(
                    update(w)
                    .where(w.c.task_uid == row.task_uid)
                    .values(attempts=attempts, due_at=due_at)
                )
                taken.append(Webhook(row.task_uid, row.url, attempts))
        return taken

    def remove(self, task_uid: str) -> None:
        """The call was answered, or there is nobody to call."""
        with self._database.write() as connection:
            connection.execute(delete(w).where(w.c.task_uid == task_uid))
