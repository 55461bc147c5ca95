"""What came out of a sweep, point by point, and its tables as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from api.sweeps.folder import PaintedPoint
from api.sweeps.grid import value_labels
from engine.color import to_srgb
from engine.picture_measures import PictureMeasures, Pixels, measure_picture
from engine.resize import resize_foreground, resize_reference
from engine.sweep import SweepPlan, SweepPoint

_SPREADSHEET_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class PointResult:
    """A painted point.

    Attributes:
        point: of the plan.
        painted: its picture, seed, time and parameters.
        labels: its value on each axis, as people read it.
        measures: of its picture.
    """

    point: SweepPoint
    painted: PaintedPoint
    labels: tuple[str, ...]
    measures: PictureMeasures

    @property
    def numbers(self) -> dict[str, float | None]:
        """The measures by name, in six digits."""
        numbers = asdict(self.measures)
        return {k: None if v is None else float(f"{v:.6g}") for k, v in numbers.items()}


class PictureMeasurer:
    """Measures pictures of a sweep; foregrounds and references brought to size are kept."""

    def __init__(self, plan: SweepPlan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._placed = lru_cache(maxsize=4)(self._place)

    def measure(self, painted: PaintedPoint) -> PointResult:
        """Opens the picture and measures it in sRGB.

        Raises:
            OSError: it cannot be read.
        """
        point = self._plan.points[painted.index]
        job = point.job
        with Image.open(self._folder / painted.file) as image:
            picture = np.asarray(to_srgb(image.convert("RGB"), job.icc_profile))
        alpha, reference = self._placed(
            point.plan.width_px,
            point.plan.height_px,
            job.foreground_resize_mode,
            job.reference_resize_mode,
        )
        measures = measure_picture(picture, alpha, reference)
        return PointResult(point, painted, self._plan.labels(point), measures)

    def _place(self, *place: Any) -> tuple[Pixels, Pixels | None]:
        width_px, height_px, foreground_mode, reference_mode = place
        job = self._plan.job
        foreground = resize_foreground(job.foreground, width_px, height_px, foreground_mode)
        alpha = np.asarray(foreground.getchannel("A"))
        if job.reference is None:
            return alpha, None
        reference = resize_reference(job.reference, width_px, height_px, reference_mode)
        return alpha, np.asarray(reference)


def as_rows(plan: SweepPlan, results: Sequence[PointResult]) -> list[dict[str, Any]]:
    """One flat row a painted point, the same columns in each; numbers as numbers."""
    names = [axis.name for axis in plan.axes]
    return [
        {
            "point": result.point.index,
            **dict(zip(names, result.labels, strict=True)),
            "image seed": result.painted.seed,
            "seconds": result.painted.seconds,
            "forwards": result.point.plan.total_steps,
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


def as_json(plan: SweepPlan, results: Sequence[PointResult], failures: Mapping[int, str]) -> str:
    """Axes and every point with its values, picture, measures and resolved parameters."""
    names = [axis.name for axis in plan.axes]
    axes = [{"name": axis.name, "values": value_labels(axis)} for axis in plan.axes]
    points = [
        {
            "point": result.point.index,
            "values": dict(zip(names, result.labels, strict=True)),
            "file": result.painted.file,
            "sha256": result.painted.sha256,
            "seed": result.painted.seed,
            "seconds": result.painted.seconds,
            "forwards": result.point.plan.total_steps,
            "measures": result.numbers,
            "parameters": result.painted.parameters,
        }
        for result in results
    ]
    failed = [
        {
            "point": index,
            "values": dict(zip(names, plan.labels(plan.points[index]), strict=True)),
            "error": message,
        }
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
