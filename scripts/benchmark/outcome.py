"""What became of a row, and of a whole run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scripts.benchmark.row import Measure, Row


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row that was measured, or could not be.

    Attributes:
        row: which.
        measures: what it gave; empty where it failed.
        seconds: it took.
        error: why it failed; "" for none.
        disturbance: what else ran on the machine meanwhile; "" for nothing of weight.
    """

    row: Row
    measures: tuple[Measure, ...]
    seconds: float
    error: str = ""
    disturbance: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it, samples included."""
        return {
            "number": self.row.number,
            "title": self.row.title,
            "shape": self.row.shape,
            "seconds": round(self.seconds, 1),
            "error": self.error,
            "disturbance": self.disturbance,
            "measures": [asdict(each) | {"verdict": each.verdict} for each in self.measures],
        }


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the benchmark.

    Attributes:
        machine: name to value, see `machine`.
        started_at: ISO date and time.
        quick: a few samples of everything, to see whether it runs; no result.
        noise: A against A.
        outcomes: in the order of the rows.
        caveat: why the numbers do not count; "" where they do.
    """

    machine: dict[str, str]
    started_at: str
    quick: bool
    noise: Sequence[Measure]
    outcomes: Sequence[Outcome] = field(default_factory=list)
    caveat: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it, samples included."""
        return {
            "machine": self.machine,
            "started_at": self.started_at,
            "quick": self.quick,
            "caveat": self.caveat,
            "noise": [asdict(each) for each in self.noise],
            "rows": [outcome.as_json() for outcome in self.outcomes],
        }
