"""Which fault comes when: drawn from a seed alone, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

KILL, STOP, CUT, SILENCE, FILL = "kill", "stop", "cut", "silence", "fill"
API, SUPERVISOR, CHILD, DATABASE, OBJECTS, DISK = (
    "api",
    "supervisor",
    "child",
    "database",
    "objects",
    "disk",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        action: kill -9; SIGSTOP, later SIGCONT; cut: connections break and new ones are refused;
            silence: they stay and nothing passes; fill: of the disk.
        target: whom it befalls.
        which: of several of a kind; taken modulo their number.
        wait_s: since the fault before.
        hold_s: until it is undone; after a kill until a server is started again.
    """

    action: str
    target: str
    which: int
    wait_s: float
    hold_s: float


# Weights. Stops, cuts and full disks bind the service for seconds, so that they are the fewer.
_SHARED = {
    (KILL, API): 8.0,
    (KILL, SUPERVISOR): 8.0,
    (KILL, CHILD): 60.0,
    (STOP, API): 2.0,
    (STOP, SUPERVISOR): 3.0,
    (STOP, CHILD): 1.5,
    (CUT, API): 1.5,
    (SILENCE, API): 0.7,
    (FILL, DISK): 1.5,
}
_OF_POSTGRESQL = {
    (KILL, DATABASE): 6.0,
    (STOP, DATABASE): 1.0,
    (CUT, DATABASE): 2.0,
    (SILENCE, DATABASE): 0.7,
}
_OF_S3 = {(KILL, OBJECTS): 3.0, (STOP, OBJECTS): 1.0, (CUT, OBJECTS): 2.0, (SILENCE, OBJECTS): 0.7}
# A child of torch takes seconds of every core to start: it dies with its supervisor as well.
_REAL_CHILD = {(KILL, CHILD): 4.0, (KILL, SUPERVISOR): 4.0, (KILL, API): 30.0}


def weights(*, postgresql: bool, s3: bool, stand_in: bool) -> dict[tuple[str, str], float]:
    """How often each fault is drawn, relative to the others."""
    chosen = _SHARED | (_OF_POSTGRESQL if postgresql else {}) | (_OF_S3 if s3 else {})
    return chosen if stand_in else chosen | _REAL_CHILD


def schedule(
    seed: int,
    of: Mapping[tuple[str, str], float],
    *,
    pace_s: float,
    lease_s: float,
    skip: int = 0,
) -> Iterator[Fault]:
    """Faults without end, the same for the same seed.

    Args:
        seed: of the draw.
        of: see `weights`.
        pace_s: mean time between two faults.
        lease_s: of the service: processes are stopped for longer.
        skip: so many are left out, those that a run before has done.
    """
    return islice(_draw(random.Random(seed), of, pace_s, lease_s), skip, None)


def _draw(
    draw: random.Random, of: Mapping[tuple[str, str], float], pace_s: float, lease_s: float
) -> Iterator[Fault]:
    kinds, odds = list(of), list(of.values())
    while True:
        [(action, target)] = draw.choices(kinds, odds)
        which, wait_s = draw.randrange(1000), pace_s * draw.uniform(0.2, 1.8)
        hold_s = lease_s * draw.uniform(1.2, 2.0) if action == STOP else draw.uniform(0.2, 2.0)
        yield Fault(action, target, which, wait_s, hold_s)
