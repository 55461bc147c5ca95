"""How the points of a sweep lie on pages: the first axis across, the second down, a page for the third."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.sweep import Axis

Coordinates = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """Points beside each other; `label` is their value on the second axis, empty without one."""

    label: str
    points: tuple[Coordinates, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Rows below each other; `heading` tells the third axis, empty without one."""

    heading: str
    rows: tuple[Row, ...]


def pages_of(axes: Sequence[Axis]) -> list[Page]:
    """All points, each once.

    Args:
        axes: one to three.
    """
    if len(axes) < 3:
        return [Page("", _rows(axes, ()))]
    third = axes[2]
    return [
        Page(f"{third.name}: {third.label(at)}", _rows(axes, (at,)))
        for at in range(len(third.values))
    ]


def value_labels(axis: Axis) -> list[str]:
    """Of all its values, in order."""
    return [axis.label(at) for at in range(len(axis.values))]


def _rows(axes: Sequence[Axis], page: Coordinates) -> tuple[Row, ...]:
    columns = range(len(axes[0].values))
    if len(axes) == 1:
        return (Row("", tuple((column,) for column in columns)),)
    return tuple(
        Row(label, tuple((column, row, *page) for column in columns))
        for row, label in enumerate(value_labels(axes[1]))
    )
