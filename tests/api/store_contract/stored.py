"""Tasks to store, and short ways to bring them into a state."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import insert, select, update

from api.rows import new_row
from api.schema import tasks, tenants
from api.store import SqlTaskStore
from api.tasks import Claimant, Lease, NewTask, TaskOutput, TaskRecord, TaskStatus

MakeStore = Callable[..., SqlTaskStore]
_numbers = itertools.count()


def new_task(uid: str | None = None, **changes: Any) -> NewTask:
    uid = uid or f"task{next(_numbers):016d}"
    values: dict[str, Any] = {
        "uid": uid,
        "tenant": "alice",
        "action": "GenerateBackgrounds",
        "params": {"PositivePrompts": ["蓝天"], "BatchSize": 1},
        "inputs": {"foreground": f"in/20260101/{uid}/foreground"},
        "model_key": "PICPIK General",
        "compat_key": "PICPIK General/64x64",
        "seed": 2**31 - 1,
        "num_images": 1,
        "points": 3,
        "note": "",
    }
    return NewTask(**{**values, **changes})


def output(uid: str, index: int = 0, token: int = 1) -> TaskOutput:
    return TaskOutput(
        image_index=index,
        blob_key=f"out/20260101/{uid}/t{token}/{index}.png",
        sha256="0" * 64,
        mime="image/png",
        width_px=64,
        height_px=48,
        size_bytes=1234,
        seed=7 + index,
    )


def put_many(store: SqlTaskStore, count: int, **changes: Any) -> list[str]:
    """Many tasks of one key, the quick way: as so many puts would leave them."""
    tasks_put = [new_task(**changes) for _ in range(count)]
    store.put(tasks_put[0])
    first = read_row(store, tasks_put[0].uid)
    with store.database.write() as connection:
        rows = [
            {
                **new_row(task),
                "state": TaskStatus.QUEUED,
                "max_attempts": 3,
                "created_at": first.created_at,
                "priority": first.priority,
                "vtime": first.vtime + index * task.est_cost,
            }
            for index, task in enumerate(tasks_put[1:], 1)
        ]
        connection.execute(insert(tasks), rows)
        end = first.vtime + count * tasks_put[0].est_cost
        mine = tenants.c.name == tasks_put[0].tenant
        connection.execute(update(tenants).where(mine).values(vtime=end))
    return [task.uid for task in tasks_put]


def read_row(store: SqlTaskStore, uid: str) -> Any:
    """All columns of a task."""
    with store.database.read() as connection:
        return connection.execute(select(tasks).where(tasks.c.uid == uid)).one()


def lease_of(record: TaskRecord, owner: str = "w1") -> Lease:
    return Lease(record.uid, owner, record.token)


def try_claim(store: SqlTaskStore, owner: str = "w1", lease_s: float = 60.0) -> TaskRecord | None:
    """`lease_s` 0 gives a lease that is over at once."""
    records = store.claim(Claimant(owner), limit=1, lease_s=lease_s)
    return records[0] if records else None


def claim_one(store: SqlTaskStore, owner: str = "w1", lease_s: float = 60.0) -> TaskRecord:
    record = try_claim(store, owner, lease_s)
    assert record is not None, "nothing to claim"
    return record


def read(store: SqlTaskStore, uid: str) -> TaskRecord:
    record = store.get(uid)
    assert record is not None, "no such task"
    return record


def claimed(store: SqlTaskStore, lease_s: float = 60.0, **changes: Any) -> tuple[str, Lease]:
    """A new task that runs."""
    task = new_task(**changes)
    store.put(task)
    record = claim_one(store, lease_s=lease_s)
    assert record.uid == task.uid
    return task.uid, lease_of(record)


def in_state(store: SqlTaskStore, status: TaskStatus) -> tuple[str, Lease]:
    """A task in that state, and the lease it has or last had; the queue is otherwise empty."""
    uid, lease = claimed(store, num_images=1)
    match status:
        case TaskStatus.QUEUED:
            store.release(lease, crashed=False)
        case TaskStatus.SUCCEEDED:
            store.finish(lease, [output(uid)])
        case TaskStatus.FAILED:
            store.fail(lease, error_code=1205, error_text="x")
        case TaskStatus.CANCELED:
            store.end_canceled(lease)
        case TaskStatus.EXPIRED:
            store.release(lease, crashed=False)
            time.sleep(0.05)
            assert store.sweep() == [uid]
    return uid, lease
