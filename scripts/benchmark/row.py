"""Rows of the benchmark and what measuring one gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scripts.benchmark.pairs import Pairs

if TYPE_CHECKING:
    from scripts.benchmark.bench import Bench


@dataclass(frozen=True, slots=True)
class Limit:
    """What a number must reach and what is aimed at.

    Attributes:
        must: the bound.
        aim: the better one.
        at_least: the number must not be below the bounds; else it must not be above them.
    """

    must: float
    aim: float
    at_least: bool = False

    def verdict(self, value: float) -> str:
        """`aim`, `must` or `missed`: the best bound that `value` keeps."""
        for name, bound in (("aim", self.aim), ("must", self.must)):
            if value >= bound if self.at_least else value <= bound:
                return name
        return "missed"


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured number.

    Attributes:
        name: what it is, in a few words.
        value: the number that is compared with the limit.
        unit: of the value; "" for a ratio.
        limit: None for a number that is told beside the others.
        spread: half the distance between the quartiles, in the value's unit; None where the value
            is no median.
        samples: what it was computed from, by name, for the JSON file.
        note: how it was measured, where the name does not say it.
    """

    name: str
    value: float
    unit: str = ""
    limit: Limit | None = None
    spread: float | None = None
    samples: dict[str, Sequence[float]] = field(default_factory=dict)
    note: str = ""

    @property
    def verdict(self) -> str:
        """`aim`, `must`, `missed`, or "" without a limit."""
        return "" if self.limit is None else self.limit.verdict(self.value)


def ratio_measure(name: str, pairs: Pairs, limit: Limit | None, *, note: str = "") -> Measure:
    """A over B with its spread and all samples."""
    return Measure(
        name,
        pairs.ratio,
        limit=limit,
        spread=pairs.ratio_spread,
        samples={"a": pairs.a, "b": pairs.b},
        note=note,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes:
        number: as in the table.
        title: what is measured.
        measure: does it; raises whatever goes wrong.
        shape: of the models it runs on, for the table.
    """

    number: int
    title: str
    measure: Callable[[Bench], Sequence[Measure]]
    shape: str = ""
