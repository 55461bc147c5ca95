"""What came out of a sweep, point by point, and its tables as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from api.sweeps.folder import PaintedPoint
from api.sweeps.grid import value_labels
from api.sweeps.outline import Outline, Place
from engine.color import to_srgb
from engine.picture_measures import PictureMeasures, Pixels, measure_picture
from engine.resize import resize_foreground, resize_reference

_SPREADSHEET_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class PointResult:
    """A painted point.

    Attributes:
        place: in the sweep.
        painted: its picture, seed, time and parameters.
        measures: of its picture.
    """

    place: Place
    painted: PaintedPoint
    measures: PictureMeasures

    @property
    def numbers(self) -> dict[str, float | None]:
        """The measures by name, in six digits."""
        numbers = asdict(self.measures)
        return {k: None if v is None else float(f"{v:.6g}") for k, v in numbers.items()}

    @property
    def forwards(self) -> dict[str, int]:
        """How many there were, under their name, where that is known."""
        return {} if self.place.forwards is None else {"forwards": self.place.forwards}


class PictureMeasurer:
    """Measures pictures of a sweep; foregrounds and references brought to size are kept.

    Args:
        outline: of the sweep.
        folder: of the pictures.
        foreground: mode RGBA.
        reference: mode RGB, sRGB; None for none.
    """

    def __init__(
        self,
        outline: Outline,
        folder: Path,
        *,
        foreground: Image.Image,
        reference: Image.Image | None,
    ) -> None:
        self._outline = outline
        self._folder = folder
        self._foreground = foreground
        self._reference = reference
        self._placed = lru_cache(maxsize=4)(self._place)

    def measure(self, painted: PaintedPoint) -> PointResult:
        """Opens the picture and measures it in sRGB.

        Raises:
            OSError: it cannot be read.
        """
        place = self._outline.places[painted.index]
        with Image.open(self._folder / painted.file) as image:
            picture = np.asarray(to_srgb(image.convert("RGB"), self._outline.icc_profile))
        alpha, reference = self._placed(
            place.width_px,
            place.height_px,
            place.foreground_resize_mode,
            place.reference_resize_mode,
        )
        return PointResult(place, painted, measure_picture(picture, alpha, reference))

    def measure_all(self, painted: Mapping[int, PaintedPoint]) -> Iterator[PointResult]:
        """What is painted, in the order of the points.

        Raises:
            OSError: a picture cannot be read.
        """
        for index in sorted(painted):
            yield self.measure(painted[index])

    def _place(self, *place: Any) -> tuple[Pixels, Pixels | None]:
        width_px, height_px, foreground_mode, reference_mode = place
        foreground = resize_foreground(self._foreground, width_px, height_px, foreground_mode)
        alpha = np.asarray(foreground.getchannel("A"))
        if self._reference is None:
            return alpha, None
        reference = resize_reference(self._reference, width_px, height_px, reference_mode)
        return alpha, np.asarray(reference)


def as_rows(outline: Outline, results: Sequence[PointResult]) -> list[dict[str, Any]]:
    """One flat row a painted point, the same columns in each; numbers as numbers."""
    return [
        {
            "point": result.place.index,
            **outline.labels(result.place.index),
            "image seed": result.painted.seed,
            "seconds": result.painted.seconds,
            **result.forwards,
            **{name.replace("_", " "): value for name, value in result.numbers.items()},
            "file": result.painted.file,
        }
        for result in results
    ]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a spreadsheet opens them: no name of a model or LoRA is run as a formula."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if rows:
        writer.writerow([_harmless(name) for name in rows[0]])
    for row in rows:
        writer.writerow(["" if value is None else _harmless(value) for value in row.values()])
    return file.getvalue()


def as_json(outline: Outline, results: Sequence[PointResult], failures: Mapping[int, str]) -> str:
    """Axes and every point with its values, picture, measures and resolved parameters."""
    axes = [{"name": axis.name, "values": value_labels(axis)} for axis in outline.axes]
    points = [
        {
            "point": result.place.index,
            "values": outline.labels(result.place.index),
            "file": result.painted.file,
            "sha256": result.painted.sha256,
            "seed": result.painted.seed,
            "seconds": result.painted.seconds,
            **result.forwards,
            "measures": result.numbers,
            "parameters": result.painted.parameters,
        }
        for result in results
    ]
    failed = [
        {"point": index, "values": outline.labels(index), "error": message}
        for index, message in sorted(failures.items())
    ]
    content = {"axes": axes, "points": points, "failed": failed}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _harmless(value: object) -> object:
    """Text that a spreadsheet would run is quoted the way spreadsheets do; numbers are left."""
    if not isinstance(value, str) or not value.startswith(_SPREADSHEET_FORMULAS):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
