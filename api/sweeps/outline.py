"""A sweep as its reports tell of it, whoever paints the pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from api.sweeps.grid import Coordinates
from engine.job import ResizeMode
from engine.sweep import Axis


@dataclass(frozen=True, slots=True)
class Place:
    """A point of a sweep, and the canvas of its picture.

    Attributes:
        index: 0-based position in the sweep; the last axis runs fastest.
        coordinates: position of its value on each axis.
        width_px: of the picture.
        height_px: likewise.
        foreground_resize_mode: how the product was brought to the canvas.
        reference_resize_mode: how the reference was, if there is one.
        forwards: steps of the network; None where whoever paints does not tell.
    """

    index: int
    coordinates: Coordinates
    width_px: int
    height_px: int
    foreground_resize_mode: ResizeMode
    reference_resize_mode: ResizeMode
    forwards: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """All points of a sweep, and what is told of them together.

    Attributes:
        axes: one to three.
        places: in the order of their indexes.
        facts: what all points have in common, name to text.
        seconds_are: what the time of a picture is, for people.
        icc_profile: of the pictures; None means sRGB.
    """

    axes: tuple[Axis, ...]
    places: tuple[Place, ...]
    facts: Mapping[str, str]
    seconds_are: str
    icc_profile: bytes | None

    def labels(self, index: int) -> dict[str, str]:
        """Name of each axis to the point's value on it, as people read them."""
        coordinates = self.places[index].coordinates
        return {axis.name: axis.label(at) for axis, at in zip(self.axes, coordinates, strict=True)}

    def title(self, index: int) -> str:
        """The point as people call it: `Steps 6, Seed 1`."""
        return ", ".join(f"{name} {text}" for name, text in self.labels(index).items())


def common_facts(points: Iterable[Mapping[str, object]]) -> dict[str, str]:
    """What is told of every point in the same words, but nothing where the words are empty."""
    told = [{name: str(value) for name, value in point.items()} for point in points]
    return {
        name: text
        for name, text in (told[0] if told else {}).items()
        if text and all(point[name] == text for point in told)
    }
