"""What time does to tasks: leases that are over, waits that were too long, images kept long enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, delete, select, true, update

from api.accounts import UNSETTLED, settle
from api.database import Database
from api.moves import CANCELED, EXPIRED, SOLO_AGAIN, WORKER_LOST, move_from
from api.schema import task_outputs
from api.schema import tasks as t
from api.tasks import PurgedTask, TaskStatus

_SWEPT_AT_ONCE = 500
_FINAL = t.c.state.in_([status for status in TaskStatus if status.is_final])


def sweep(database: Database, *, ended: Mapping[str, Any]) -> list[str]:
    """See `TaskStore.sweep`; `ended` is what every move into a final state sets."""
    now = database.now
    over = t.c.lease_until <= now
    late = t.c.queue_deadline <= now
    canceled = t.c.cancel_requested
    used_up = t.c.attempts >= t.c.max_attempts
    queued, running = TaskStatus.QUEUED, TaskStatus.RUNNING
    moves = [
        move_from(running, TaskStatus.CANCELED)
        .where(_some(running, over, canceled))
        .values(**CANCELED, **ended),
        move_from(running, TaskStatus.FAILED)
        .where(_some(running, over, ~canceled, used_up))
        .values(**WORKER_LOST, **ended),
        move_from(running, queued)
        .where(_some(running, over, ~canceled, ~used_up))
        .values(**SOLO_AGAIN),
        move_from(queued, TaskStatus.EXPIRED).where(_some(queued, late)).values(**EXPIRED, **ended),
    ]
    looks = [  # each is a look into an index of its own
        select(t.c.seq).where(t.c.state == running, over).limit(1),
        select(t.c.seq).where(t.c.state == queued, late).limit(1),
        select(t.c.seq).where(UNSETTLED).limit(1),  # ended by workers that knew no accounts
    ]
    with database.read() as connection:  # mostly there is nothing to do
        if all(connection.execute(look).first() is None for look in looks):
            return []
    with database.write() as connection:
        uids = [uid for move in moves for uid in connection.scalars(move.returning(t.c.uid)).all()]
        settle(connection)
        return uids


def purge(database: Database, *, limit: int) -> list[PurgedTask]:
    """See `TaskStore.purge`.

    Of an ended task first the images go, its row staying to tell what became of it, and later
    the row. At most `limit` tasks of either kind are touched: call again while as many return.
    """
    now = database.now
    expired = (
        select(t.c.seq, t.c.uid, t.c.inputs)
        .where(_FINAL, t.c.images_expire_at <= now, ~t.c.images_purged)
        .limit(limit)
    )
    forgotten = select(t.c.seq).where(_FINAL, t.c.images_purged, t.c.record_expires_at <= now)
    with database.write() as connection:
        rows = connection.execute(expired.with_for_update(skip_locked=True)).all()
        blob_keys = {row.uid: list(row.inputs.values()) for row in rows}
        outputs = (
            delete(task_outputs)
            .where(task_outputs.c.task_uid.in_(blob_keys))
            .returning(task_outputs.c.task_uid, task_outputs.c.blob_key)
        )
        for row in connection.execute(outputs):
            blob_keys[row.task_uid].append(row.blob_key)
        connection.execute(
            update(t)
            .where(t.c.seq.in_([row.seq for row in rows]))
            .values(images_purged=true(), inputs={}, previews=None)
        )
        connection.execute(delete(t).where(t.c.seq.in_(forgotten.limit(limit))))
    return [PurgedTask(uid, tuple(keys)) for uid, keys in blob_keys.items()]


def _some(state: TaskStatus, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Some tasks in that state that meet all `conditions`, and that nobody is changing now."""
    some = select(t.c.seq).where(t.c.state == state, *conditions).limit(_SWEPT_AT_ONCE)
    return t.c.seq.in_(some.with_for_update(skip_locked=True))
