"""What a supervisor tells of itself: it counts here, and from here the numbers go out."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

from api.child import Gone
from api.instruments.context import about_task
from api.instruments.snapshot import (
    SnapshotFile,
    TaskState,
    WorkerCounts,
    WorkerSnapshot,
    snapshots_folder,
)
from api.instruments.traces import TaskTraces, open_traces
from api.messages import EngineReport, Progress, TaskEnded, ToSupervisor
from api.publish import RunningTask
from api.settings import Settings
from api.tasks import TaskRecord, TaskStatus
from engine.counts import DeviceState, EngineCounts

REPORT_PERIOD_S = 1.0
_RATE_PERIODS = 5


class WorkerInstruments:
    """Counts, snapshots, metrics and traces of one supervisor; its thread alone calls this.

    Args:
        settings: of the service.
        worker: owner of its leases.
        device: "cpu", "cuda:0", ...
    """

    def __init__(self, settings: Settings, *, worker: str, device: str) -> None:
        self._counts = WorkerCounts(ended={each.value: 0 for each in TaskStatus if each.is_final})
        self._before = EngineCounts()  # of compute children that are gone
        self._engine = EngineCounts()  # of the one at work
        self._state = DeviceState()
        self._steps: deque[tuple[float, int]] = deque(maxlen=_RATE_PERIODS + 1)
        self._worker, self._device = worker, device
        self._file = SnapshotFile(snapshots_folder(settings.data_dir), worker)
        self._traces: TaskTraces | None = open_traces(settings, "backdrop-worker")

    @contextmanager
    def starting(self, record: TaskRecord) -> Iterator[None]:
        """A task is this worker's; within it, it is made ready and handed to the child."""
        if self._traces is not None:
            self._traces.claimed(record)
        with about_task(record.uid):
            yield

    @contextmanager
    def hearing(self, message: ToSupervisor | Gone) -> Iterator[None]:
        """A child said something, which is dealt with within it."""
        if not isinstance(message, Gone):
            self.heard(message)
        with about_task(getattr(message, "uid", "")):
            yield

    def started(self, record: TaskRecord) -> None:
        """It is handed to the child."""
        self._counts.starts += 1
        self._counts.reruns += record.token > 1
        if self._traces is not None:
            self._traces.started(record.uid)

    def heard(self, message: ToSupervisor) -> None:
        """The child at work said this."""
        match message:
            case EngineReport(counts, state):
                self._engine, self._state = counts, state
            case Progress(uid, _, stage) if self._traces is not None:
                self._traces.reached(uid, stage)
            case TaskEnded(uid) if self._traces is not None:
                self._traces.computed(uid)

    def child_gone(self) -> None:
        """The child at work is no more; what it counted stays."""
        self._counts.crashes += 1
        self._before += self._engine
        self._engine, self._state = EngineCounts(), DeviceState()

    def ended(self, task: RunningTask, status: TaskStatus | None) -> None:
        """The store knows how a run ended; `status` is None where it was fenced off."""
        if status is None:
            self._counts.publishes_fenced += 1
        elif status.is_final:
            self._count_end(status)
        if self._traces is not None:
            self._traces.ended(task.record, status)

    def swept(self, records: Collection[TaskRecord]) -> None:
        """These had lost their worker, or waited too long."""
        for record in records:
            self._counts.leases_expired += record.status is not TaskStatus.EXPIRED
            if record.status.is_final:
                self._count_end(record.status)
            if self._traces is not None:
                self._traces.swept(record)

    def report(self, tasks: Collection[RunningTask], *, is_ready: bool) -> None:
        """Write the numbers down."""
        self._file.write(self.snapshot(tasks, is_ready=is_ready))

    def snapshot(self, tasks: Collection[RunningTask], *, is_ready: bool) -> WorkerSnapshot:
        """The numbers at this moment."""
        engine = self._before + self._engine
        self._steps.append((time.monotonic(), engine.steps))
        return WorkerSnapshot(
            worker=self._worker,
            device=self._device,
            pid=os.getpid(),
            parent_pid=os.getppid(),
            written_at=time.time(),
            is_ready=is_ready,
            steps_per_s=_rate(self._steps),
            tasks=tuple(_state(task) for task in tasks),
            counts=replace(self._counts, ended=dict(self._counts.ended)),
            engine=engine,
            state=self._state,
        )

    def close(self) -> None:
        """The worker ends in good order."""
        self._file.remove()
        if self._traces is not None:
            self._traces.close()

    def _count_end(self, status: TaskStatus) -> None:
        self._counts.ended[status.value] += 1


def _rate(samples: deque[tuple[float, int]]) -> float:
    (first_at, first), (last_at, last) = samples[0], samples[-1]
    return round((last - first) / (last_at - first_at), 3) if last_at > first_at else 0.0


def _state(task: RunningTask) -> TaskState:
    record, (progress, stage) = task.record, task.progress
    return TaskState(
        uid=record.uid,
        model=record.model_key,
        num_images=record.num_images,
        attempt=record.attempts,
        progress=progress,
        stage=stage,
    )
