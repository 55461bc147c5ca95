"""The service at one moment, from its database and its workers' files: what `backdrop top` shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from api.instruments.queue_state import QueueLine, QueueState
from api.instruments.snapshot import WorkerSnapshot, read_snapshots, snapshots_folder
from api.schema import tasks as t
from api.settings import Settings
from api.store import SqlTaskStore
from api.tasks import TaskStatus

MAX_TASKS = 50
MAX_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, on this machine or another.

    Attributes:
        worker: owner of its leases.
        host: name of its machine.
        device: "cpu", "cuda:0", ...
        models: on its device.
        tasks: in its hands.
        draining: it takes no more of them.
        numbers: what it wrote into this data folder; None where it writes into another.
    """

    worker: str
    host: str
    device: str
    models: Sequence[str]
    tasks: int
    draining: bool
    numbers: WorkerSnapshot | None

    @property
    def status(self) -> str:
        """In a word or two, empty where it is not known."""
        if self.draining or self.numbers is None:
            return "draining" if self.draining else ""
        return "ready" if self.numbers.is_ready else "not ready"


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task that some worker has, on this machine or another."""

    uid: str
    model: str
    worker: str
    attempt: int
    progress: float
    stage: str
    age_s: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that ended as failed."""

    uid: str
    model: str
    error_code: int
    error_text: str
    age_s: float


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it.

    Attributes:
        at: Unix seconds.
        queue: unfinished tasks by state, model and key.
        workers: all that the task store has heard of lately.
        running: oldest first, at most `MAX_TASKS`.
        failures: youngest first, at most `MAX_FAILURES`.
    """

    at: float
    queue: Sequence[QueueLine]
    workers: Sequence[Worker]
    running: Sequence[RunningTask]
    failures: Sequence[Failure]

    @property
    def steps_per_s(self) -> float:
        """Of the workers whose numbers are here."""
        return sum(each.numbers.steps_per_s for each in self.workers if each.numbers is not None)


class Overviews:
    """Takes them, as often as asked.

    Args:
        settings: with the data folder.
        store: where tasks lie.
    """

    def __init__(self, settings: Settings, store: SqlTaskStore) -> None:
        self._folder = snapshots_folder(settings.data_dir)
        self._store = store
        self._database = store.database
        self._queue = QueueState(store.database)

    def take(self) -> Overview:
        """How it stands now. Blocking.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        return Overview(
            at=time.time(),
            queue=self._queue.lines(),
            workers=self._workers(),
            running=self._running(),
            failures=self._failures(),
        )

    def _workers(self) -> list[Worker]:
        numbers = {each.worker: each for each in read_snapshots(self._folder)}
        states = [record.state for record in self._store.workers()]
        return [
            Worker(
                worker=state.owner,
                host=state.host,
                device=state.device,
                models=state.loaded_models,
                tasks=state.num_running,
                draining=state.draining,
                numbers=numbers.get(state.owner),
            )
            for state in states
        ]

    def _running(self) -> list[RunningTask]:
        query = (
            select(
                t.c.uid,
                t.c.model_key,
                t.c.owner,
                t.c.attempts,
                t.c.progress,
                t.c.stage,
                self._database.now - t.c.started_at,
            )
            .where(t.c.state == TaskStatus.RUNNING)
            .order_by(t.c.started_at, t.c.seq)
            .limit(MAX_TASKS)
        )
        with self._database.read() as connection:
            return [RunningTask(*row) for row in connection.execute(query)]

    def _failures(self) -> list[Failure]:
        # In the order of the index on what is purged next: all records are kept equally long.
        query = (
            select(
                t.c.uid,
                t.c.model_key,
                t.c.error_code,
                t.c.error_text,
                self._database.now - t.c.finished_at,
            )
            .where(t.c.record_expires_at.is_not(None), t.c.state == TaskStatus.FAILED)
            .order_by(t.c.record_expires_at.desc())
            .limit(MAX_FAILURES)
        )
        with self._database.read() as connection:
            return [Failure(*row) for row in connection.execute(query)]
