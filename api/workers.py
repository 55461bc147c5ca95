"""Who is at work: one row for every running worker, of which it is heard every few seconds."""

from __future__ import annotations

from dataclasses import asdict, fields

from sqlalchemy import delete, func, select

from api.database import Database
from api.schema import tasks as t
from api.schema import workers as w
from api.tasks import Backlog, TaskStatus, WorkerRecord, WorkerState

HEARD_OF_S = 60.0

_STATE_COLUMNS = [w.c[field.name] for field in fields(WorkerState)]


class Workers:
    """The table `workers`.

    Args:
        database: where it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def check_in(self, worker: WorkerState) -> None:
        """See `TaskStore.check_in`. Rows of workers that died go with time."""
        now = self._database.now
        state = {**asdict(worker), "loaded_models": list(worker.loaded_models)}
        new = self._database.insert(w).values(**state, started_at=now, last_beat_at=now)
        known = new.on_conflict_do_update(
            index_elements=[w.c.owner], set_={**state, "last_beat_at": now}
        )
        dead = delete(w).where(w.c.last_beat_at < now - HEARD_OF_S)
        with self._database.write() as connection:
            connection.execute(known)
            connection.execute(dead)

    def check_out(self, owner: str) -> None:
        """See `TaskStore.check_out`."""
        with self._database.write() as connection:
            connection.execute(delete(w).where(w.c.owner == owner))

    def all(self) -> list[WorkerRecord]:
        """See `TaskStore.workers`."""
        query = select(*_STATE_COLUMNS, w.c.started_at, w.c.last_beat_at)
        heard_of = w.c.last_beat_at >= self._database.now - HEARD_OF_S
        with self._database.read() as connection:
            rows = connection.execute(query.where(heard_of).order_by(w.c.started_at)).all()
        return [
            WorkerRecord(
                WorkerState(
                    **{field.name: getattr(row, field.name) for field in fields(WorkerState)}
                    | {"loaded_models": tuple(row.loaded_models)}
                ),
                row.started_at,
                row.last_beat_at,
            )
            for row in rows
        ]

    def backlog(self) -> Backlog:
        """See `TaskStore.backlog`."""
        queued = select(func.count(), func.coalesce(func.sum(t.c.est_cost), 0.0))
        with self._database.read() as connection:
            num, est_cost = connection.execute(queued.where(t.c.state == TaskStatus.QUEUED)).one()
        taking = [worker for worker in self.all() if not worker.state.draining]
        return Backlog(num, est_cost, len(taking))
