"""Rows of the task tables as the service's own types and back: a field's name is its column's.

The one exception is `TaskRecord.status`, whose column is `state`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, insert, select

from api.schema import task_outputs
from api.schema import tasks as t
from api.tasks import IdempotencyKey, NewTask, TaskOutput, TaskRecord

RECORD_COLUMNS = [
    t.c.state.label("status") if field.name == "status" else t.c[field.name]
    for field in fields(TaskRecord)
    if field.name != "outputs"
]
# Made once, like those of the store: to build a statement takes longer than to run it.
_OUTPUTS = (
    select(task_outputs)
    .where(task_outputs.c.task_uid.in_(bindparam("uids", expanding=True)))
    .order_by(task_outputs.c.image_index)
)


def new_row(task: NewTask, key: IdempotencyKey | None = None) -> dict[str, Any]:
    """What `task` itself says of its row in `tasks`; the store adds state, limits and times."""
    row = {field.name: getattr(task, field.name) for field in fields(task)}
    # JSON columns take no other mappings than dicts.
    row |= {"params": dict(task.params), "inputs": dict(task.inputs), "points_held": True}
    if key is not None:
        row |= {"idempotency_key": key.text, "request_digest": key.request_digest}
    return row


def uid_and_digest(connection: Connection, text: str, *, tenant: str) -> tuple[str, str] | None:
    """Of the task that the tenant put under the idempotency key `text`."""
    query = select(t.c.uid, t.c.request_digest)
    query = query.where(t.c.tenant == tenant, t.c.idempotency_key == text)
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.uid, row.request_digest)


def insert_outputs(connection: Connection, uid: str, outputs: Sequence[TaskOutput]) -> None:
    """Store the published images of a task."""
    rows = [{"task_uid": uid, **asdict(output)} for output in outputs]
    if rows:  # given no rows, an insert makes one of defaults
        connection.execute(insert(task_outputs), rows)


def records_where(*conditions: ColumnElement[bool]) -> Select[Any]:
    """The query for `read_records` of the tasks that meet all `conditions`."""
    return select(*RECORD_COLUMNS).where(*conditions).order_by(t.c.seq)


def read_records(
    connection: Connection, query: Select[Any], parameters: Mapping[str, Any] | None = None
) -> dict[str, TaskRecord]:
    """Uid to record of the tasks that `query` finds, in the order they were stored."""
    tasks = connection.execute(query, parameters).all()
    outputs: dict[str, list[TaskOutput]] = {task.uid: [] for task in tasks if task.status.is_final}
    if outputs:  # others have none
        for row in connection.execute(_OUTPUTS, {"uids": list(outputs)}):
            output = row._asdict()
            outputs[output.pop("task_uid")].append(TaskOutput(**output))
    return {
        task.uid: TaskRecord(**task._mapping, outputs=tuple(outputs.get(task.uid, ())))
        for task in tasks
    }


# Given uids and tenant; given uid.
RECORDS_OF_TENANT = records_where(
    t.c.uid.in_(bindparam("uids", expanding=True)), t.c.tenant == bindparam("tenant")
)
RECORD = records_where(t.c.uid == bindparam("uid"))
