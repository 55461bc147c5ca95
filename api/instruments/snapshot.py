"""A worker's numbers on the disk, so that every process of the machine can show them.

Each supervisor writes one small file in the data folder about once a second. The API puts them on
its own page of metrics, `backdrop top` and `/readyz` read them too. Workers whose data folder is
their own, as on a cluster, are asked for their numbers at their own `metrics_port`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from api.durable import make_folder
from engine.counts import DeviceState, EngineCounts

logger = logging.getLogger(__name__)

FRESH_S = 15.0  # an older file is of a worker that was killed, or hangs
_FORGOTTEN_S = 3600.0


@dataclass(slots=True)
class WorkerCounts:
    """What a supervisor has done since it was started.

    Attributes:
        starts: of tasks.
        reruns: starts of tasks that had been started before.
        ended: tasks by the status they ended in.
        crashes: compute children that died at work, or were killed because they hung.
        leases_expired: running tasks of silent workers that this one took from them.
        publishes_fenced: ends of tasks that the store refused, since the lease was lost.
    """

    starts: int = 0
    reruns: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    crashes: int = 0
    leases_expired: int = 0
    publishes_fenced: int = 0


@dataclass(frozen=True, slots=True)
class TaskState:
    """A task that a worker is at."""

    uid: str
    model: str
    num_images: int
    attempt: int
    progress: float
    stage: str


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One worker at one moment.

    Attributes:
        worker: owner of its leases; new for every start.
        device: "cpu", "cuda:0", ...
        pid: of the supervisor.
        parent_pid: of the process that started it.
        written_at: Unix seconds.
        is_ready: whether its compute child takes tasks.
        steps_per_s: of images, over the last seconds.
        tasks: what it is at.
        counts: since it was started.
        engine: likewise, over all its compute children.
        state: of its device.
    """

    worker: str
    device: str
    pid: int
    parent_pid: int
    written_at: float
    is_ready: bool
    steps_per_s: float
    tasks: tuple[TaskState, ...]
    counts: WorkerCounts
    engine: EngineCounts
    state: DeviceState


_JSON = TypeAdapter(WorkerSnapshot)


class SnapshotFile:
    """The file of one worker.

    Args:
        folder: of all workers' files; made where it is missing.
        worker: its name, new for every start.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        name = worker.replace("/", "_")
        self._path = folder / f"{name}.json"
        self._temporary = folder / f".{name}"
        self._failed = False

    def write(self, snapshot: WorkerSnapshot) -> None:
        """Replace what stands there. A disk that takes no file takes no worker down with it."""
        try:
            make_folder(self._folder)
            descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_JSON.dump_json(snapshot))
            self._temporary.replace(self._path)
            self._failed = False
        except OSError as exc:
            if not self._failed:  # once, not every second
                logger.warning("cannot write the worker's numbers: %s", exc)
            self._failed = True

    def remove(self) -> None:
        """Take it away, and what workers left that were killed long ago."""
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)
            for path in self._folder.iterdir():
                if time.time() - path.stat().st_mtime > _FORGOTTEN_S:
                    path.unlink(missing_ok=True)


def snapshots_folder(data_dir: Path) -> Path:
    """Where the workers of a data folder write."""
    return data_dir / "workers"


def read_snapshots(folder: Path) -> list[WorkerSnapshot]:
    """All that were written lately, by device and name. Blocking."""
    now = time.time()
    found = []
    with contextlib.suppress(OSError):  # no worker was started yet
        for path in folder.glob("[!.]*.json"):
            with contextlib.suppress(
                FileNotFoundError, ValidationError
            ):  # gone; of another version
                found.append(_JSON.validate_json(path.read_bytes()))
    fresh = [each for each in found if abs(now - each.written_at) < FRESH_S]
    return sorted(fresh, key=lambda each: (each.device, each.worker))
