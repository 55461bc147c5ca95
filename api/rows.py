"""Rows of the task tables as the service's own types and back: a field's name is its column's.

The one exception is `TaskRecord.status`, whose column is `state`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select

from api.schema import task_outputs
from api.schema import tasks as t
from api.tasks import NewTask, TaskOutput, TaskRecord

_RECORD_COLUMNS = [
    t.c.state.label("status") if field.name == "status" else t.c[field.name]
    for field in fields(TaskRecord)
    if field.name != "outputs"
]


def new_row(task: NewTask) -> dict[str, Any]:
    """What `task` itself says of its row in `tasks`; the store adds state, limits and times."""
    row = {field.name: getattr(task, field.name) for field in fields(task)}
    # JSON columns take no other mappings than dicts.
    return {**row, "params": dict(task.params), "inputs": dict(task.inputs)}


def insert_outputs(connection: Connection, uid: str, outputs: Sequence[TaskOutput]) -> None:
    """Store the published images of a task."""
    rows = [{"task_uid": uid, **asdict(output)} for output in outputs]
    if rows:  # given no rows, an insert makes one of defaults
        connection.execute(insert(task_outputs), rows)


def read_records(connection: Connection, condition: ColumnElement[bool]) -> dict[str, TaskRecord]:
    """Uid to record of the tasks that meet `condition`, in the order they were stored."""
    tasks = connection.execute(select(*_RECORD_COLUMNS).where(condition).order_by(t.c.seq)).all()
    outputs: dict[str, list[TaskOutput]] = {task.uid: [] for task in tasks}
    query = (
        select(task_outputs)
        .where(task_outputs.c.task_uid.in_(outputs))
        .order_by(task_outputs.c.image_index)
    )
    for row in connection.execute(query):
        output = row._asdict()
        outputs[output.pop("task_uid")].append(TaskOutput(**output))
    return {
        task.uid: TaskRecord(**task._asdict(), outputs=tuple(outputs[task.uid])) for task in tasks
    }
