"""How far a sweep of the page is; kept for a visitor who comes back after a reload."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from api.sweeps.folder import SweepFolder
from api.sweeps.results import PointResult
from api.ui.sweep import Sweep
from backdrop.client import Task

MAX_REMEMBERED = 200
CANCELED = "Canceled"


@dataclass(slots=True)
class Flight:
    """A point whose task has not ended.

    Attributes:
        index: of the point.
        waited_until: by the monotonic clock, when it was last seen before its start.
        progress: 0..1.
    """

    index: int
    waited_until: float
    progress: float = 0.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A point whose task has ended and whose picture is still to be fetched."""

    index: int
    task: Task
    seconds: float


class SweepRun:
    """A sweep on its way. What is with the service goes on there, whoever looks at it here.

    Only the thread that holds `lock`, and was the last to call `take`, changes it; `stop` may be
    called by any.

    Attributes:
        id: cannot be guessed.
        public_key: whose tasks they are.
        sweep: what is painted.
        folder: of the pictures and reports.
        lock: held for a round of work at a time.
        waiting: indexes of points still to be sent, next first.
        flying: TaskUID to what is known of the point.
        arrived: points still to be fetched.
        results: of the painted points, by index.
        failures: by index, what others ended with.
        points_charged: credits so far.
        stopped_by: why no more is sent; empty as long as there is no reason.
        files: the reports, once they are written.
        is_reported: whether this turn has come to its end.
    """

    def __init__(self, public_key: str, sweep: Sweep, folder: Path) -> None:
        self.id = secrets.token_urlsafe(24)
        self.public_key = public_key
        self.sweep = sweep
        self.folder = SweepFolder(folder)
        self.lock = threading.Lock()
        self.waiting = deque(sweep.order())
        self.flying: dict[str, Flight] = {}
        self.arrived: deque[Arrival] = deque()
        self.results: dict[int, PointResult] = {}
        self.failures: dict[int, str] = {}
        self.points_charged = 0
        self.stopped_by = ""
        self.files: tuple[Path, ...] = ()
        self.is_reported = False
        self._turn = object()

    def take(self) -> object:
        """Makes the caller the one who works on it, with all that is not painted still to do.

        Returns:
            What `is_taken_by` knows the caller by.
        """
        with self.lock:
            self._turn = turn = object()
            self.stopped_by = ""
            self.failures.clear()
            self.files, self.is_reported = (), False
            busy = {flight.index for flight in self.flying.values()}
            busy |= {arrival.index for arrival in self.arrived} | self.results.keys()
            self.waiting = deque(index for index in self.sweep.order() if index not in busy)
            return turn

    def is_taken_by(self, turn: object) -> bool:
        """Whether nobody has taken it since."""
        return self._turn is turn

    def stop(self, reason: str) -> None:
        """No more is sent. Safe from any thread."""
        self.stopped_by = self.stopped_by or reason

    @property
    def count(self) -> int:
        """Of all points."""
        return len(self.sweep.points)

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to do in this turn."""
        is_sent = bool(self.stopped_by) or not self.waiting
        return is_sent and not self.flying and not self.arrived

    @property
    def is_whole(self) -> bool:
        """Whether every point is painted."""
        return len(self.results) == self.count

    @property
    def was_accepted(self) -> bool:
        """Whether the service has taken any point."""
        return bool(self.flying or self.arrived or self.results)

    @property
    def progress(self) -> float:
        """0..1."""
        done = len(self.results) + len(self.failures) + len(self.arrived)
        return (done + sum(flight.progress for flight in self.flying.values())) / self.count


class SweepRuns:
    """The latest sweeps of this process, for those who know their id and their key. Thread-safe."""

    def __init__(self) -> None:
        self._runs: dict[str, SweepRun] = {}
        self._lock = threading.Lock()

    def add(self, run: SweepRun) -> None:
        """Remember it, and forget the oldest."""
        with self._lock:
            self._runs[run.id] = run
            while len(self._runs) > MAX_REMEMBERED:
                del self._runs[next(iter(self._runs))]

    def get(self, run_id: str, public_key: str) -> SweepRun | None:
        """The run of that id, if it is that key's."""
        with self._lock:
            run = self._runs.get(run_id)
        return run if run is not None and run.public_key == public_key else None
