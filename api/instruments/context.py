"""What is being worked on here: the call of a client, or a task. Log lines carry it along."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_MAX_UUID_CHARS = 128  # a caller's text, of any length


@dataclass(slots=True)
class Call:
    """One HTTP request, as far as it is known; filled in while it is answered.

    Attributes:
        action: of a request to `POST /`, as the caller wrote it.
        ret_code: of the answer; None where the answer has none.
        request_uuid: the caller's own name for it.
        task_uid: of the task that it made.
        started_ns: Unix time.
    """

    action: str = ""
    ret_code: int | None = None
    request_uuid: str = ""
    task_uid: str = ""
    started_ns: int = field(default_factory=time.time_ns)


_call: ContextVar[Call | None] = ContextVar("call", default=None)
_task_uid: ContextVar[str] = ContextVar("task_uid", default="")


@contextmanager
def in_call() -> Iterator[Call]:
    """Within it, threads included that are started on its behalf, `current_call` is this one."""
    call = Call()
    token = _call.set(call)
    try:
        yield call
    finally:
        _call.reset(token)


def current_call() -> Call:
    """The call that is being answered; outside of one a new one that nobody reads."""
    return _call.get() or Call()


@contextmanager
def about_task(uid: str) -> Iterator[None]:
    """Within it log lines are about this task."""
    token = _task_uid.set(uid)
    try:
        yield
    finally:
        _task_uid.reset(token)


def log_fields() -> dict[str, str]:
    """Names of what is being worked on."""
    call = _call.get()
    fields = {"task_uid": _task_uid.get() or (call.task_uid if call else "")}
    if call is not None:
        fields["request_uuid"] = call.request_uuid[:_MAX_UUID_CHARS]
    return {name: value for name, value in fields.items() if value}
