"""One OpenTelemetry trace a task: submit, queue, claim, prepare, steps, finish, publish.

Trace and root span take their ids from the TaskUID, so that every process that has to do with a
task adds to the same trace, and nothing need be stored or sent along. OpenTelemetry's SDK is imported
only where `otlp_endpoint` is set.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.instruments.context import Call
from api.messages import FINISHING
from api.settings import Settings
from api.tasks import TaskRecord, TaskStatus

if TYPE_CHECKING:
    from api.instruments.spans import Spans


def trace_ids(uid: str) -> tuple[int, int]:
    """Ids of the trace of a task (16 bytes) and of its root span (8 bytes)."""
    digest = hashlib.sha256(uid.encode()).digest()
    return int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])


def open_traces(settings: Settings, service: str) -> TaskTraces | None:
    """What writes spans for `service`; None where traces are off."""
    if settings.otlp_endpoint is None:
        return None
    from api.instruments.spans import Spans

    return TaskTraces(Spans(settings.otlp_endpoint, service))


@dataclass(slots=True)
class _Run:
    """One start of a task, and when each of its phases began, Unix nanoseconds, in order."""

    phases: list[tuple[str, int]] = field(default_factory=list)

    def enter(self, phase: str) -> None:
        if all(name != phase for name, _ in self.phases):
            self.phases.append((phase, time.time_ns()))


class TaskTraces:
    """Writes the spans of tasks. A worker uses it on one thread; `submitted` may be called on any.

    Args:
        spans: takes them.
    """

    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self._runs: dict[str, _Run] = {}

    def submitted(self, call: Call) -> None:
        """A call made a task."""
        attributes = {"backdrop.request_uuid": call.request_uuid} if call.request_uuid else {}
        self._spans.add(call.task_uid, "submit", call.started_ns, time.time_ns(), attributes)

    def claimed(self, record: TaskRecord) -> None:
        """A worker has taken a task, and is to fetch its images."""
        self._runs[record.uid] = run = _Run()
        run.enter("claim")
        if record.token == 1:  # when a later wait began is not stored
            claimed_ns = run.phases[0][1]
            created_ns = min(_ns(record.created_at), claimed_ns)
            self._spans.add(record.uid, "queue", created_ns, claimed_ns, _attributes(record))

    def started(self, uid: str) -> None:
        """The child has it."""
        self._enter(uid, "prepare")

    def reached(self, uid: str, stage: str) -> None:
        """A step of it is done, or with `FINISHING` the last one."""
        self._enter(uid, "steps")
        if stage == FINISHING:
            self._enter(uid, "finish")

    def computed(self, uid: str) -> None:
        """The child is done with it."""
        self._enter(uid, "publish")

    def ended(self, record: TaskRecord, status: TaskStatus | None) -> None:
        """The store knows; `status` is None where the worker had lost the task."""
        run = self._runs.pop(record.uid, None)
        if run is None:
            return
        now = time.time_ns()
        ends = [begun for _, begun in run.phases[1:]] + [now]
        for (name, begun), end in zip(run.phases, ends, strict=True):
            self._spans.add(record.uid, name, begun, end, _attributes(record))
        if status is not None:
            self._end(record, status, now)

    def swept(self, record: TaskRecord) -> None:
        """What another worker left, or none took, has this status now."""
        self._end(record, record.status, time.time_ns())

    def close(self) -> None:
        """Send what is not sent yet."""
        self._spans.close()

    def _end(self, record: TaskRecord, status: TaskStatus, now: int) -> None:
        if not status.is_final:
            return
        attributes = {**_attributes(record), "backdrop.status": status.value}
        created_ns = min(_ns(record.created_at), now)
        failed = status is TaskStatus.FAILED
        self._spans.add_root(record.uid, created_ns, now, attributes, failed=failed)

    def _enter(self, uid: str, phase: str) -> None:
        if uid in self._runs:
            self._runs[uid].enter(phase)


def _ns(unix_s: float) -> int:
    return int(unix_s * 1e9)


def _attributes(record: TaskRecord) -> Mapping[str, str | int]:
    return {
        "backdrop.model": record.model_key,
        "backdrop.images": record.num_images,
        "backdrop.attempt": record.attempts,
    }
