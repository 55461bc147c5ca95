"""Moves of a task between its states, as statements on its row, and the fence around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Update, and_, update

from api.errors import (
    TASK_CANCELED,
    TASK_EXPIRED,
    TASK_GENERATION_FAILED,
    IllegalMove,
    LeaseLost,
)
from api.schema import tasks as t
from api.tasks import LEGAL_MOVES, Lease, TaskStatus

# What a move sets besides the state.
NO_OWNER: Mapping[str, Any] = {
    "owner": None,
    "lease_until": None,
    "run_deadline": None,
    "previews": None,
}
SOLO_AGAIN: Mapping[str, Any] = {**NO_OWNER, "solo": True, "crashes": t.c.crashes + 1}
WORKER_LOST: Mapping[str, Any] = {
    "crashes": t.c.crashes + 1,
    "error_code": TASK_GENERATION_FAILED,
    "error_text": "worker lost: every allowed start ended without a result",
}
CANCELED: Mapping[str, Any] = {"error_code": TASK_CANCELED, "error_text": "canceled"}
EXPIRED: Mapping[str, Any] = {"error_code": TASK_EXPIRED, "error_text": "waited too long"}


def move_from(source: TaskStatus, target: TaskStatus) -> Update:
    """The one way to change a state: from `source` only, and only as `LEGAL_MOVES` says.

    Raises:
        IllegalMove: there is no such move.
    """
    if target not in LEGAL_MOVES[source]:
        raise IllegalMove(f"{source} -> {target}")
    return update(t).where(t.c.state == source).values(state=target)


def held(lease: Lease) -> ColumnElement[bool]:
    """The fence: true only while the task runs under this very lease."""
    return and_(
        t.c.uid == lease.uid,
        t.c.state == TaskStatus.RUNNING,
        t.c.owner == lease.owner,
        t.c.token == lease.token,
    )


def lease_lost(lease: Lease) -> LeaseLost:
    """The error to raise where no row is `held`."""
    return LeaseLost(f"task {lease.uid} is no longer run by {lease.owner} (token {lease.token})")
