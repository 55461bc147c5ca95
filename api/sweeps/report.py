"""The report of a sweep: one HTML file that needs no network and no other file to be read."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from api.sweeps.grid import pages_of, value_labels
from api.sweeps.outline import Outline, Place
from api.sweeps.results import PointResult, as_rows
from engine.color import to_srgb

_TEMPLATE = "report.html"
_MEANINGS = {
    "forwards": "steps of the network",
    "sharpness": "variance of the Laplacian over the background",
    "seam gradient": "mean step between neighbouring background pixels along the outline, a share"
    " of full scale",
    "far gradient": "the same away from the outline",
    "delta e": "mean distance to the reference at the same place, in CIELAB",
    "palette distance": "between picture's and reference's colours, wherever they lie, in CIELAB",
}


@dataclass(frozen=True, slots=True)
class _Cell:
    index: int
    label: str
    file: str = ""
    image: str = ""
    error: str = ""


def html_report(
    outline: Outline,
    results: Sequence[PointResult],
    failures: Mapping[int, str],
    folder: Path,
    *,
    linked: bool = True,
) -> str:
    """The whole page; pictures are in it, reduced.

    Args:
        outline: of the sweep.
        results: of the points that are painted.
        failures: by index, what the others ended with.
        folder: of the pictures.
        linked: whether pictures link to their files, for a page that stays beside them.

    Raises:
        OSError: a picture cannot be read.
    """
    axes = outline.axes
    template = _environment().get_template(_TEMPLATE)
    cells = {place.coordinates: cell for place, cell in _cells(outline, results, failures, folder)}
    pages = [
        {
            "heading": page.heading or "Pictures",
            "rows": [
                {"label": row.label, "cells": [cells[point] for point in row.points]}
                for row in page.rows
            ],
        }
        for page in pages_of(axes)
    ]
    rows = as_rows(outline, results)
    names = [name for name in rows[0] if name != "file"] if rows else []
    meanings = {"seconds": outline.seconds_are, **_MEANINGS}
    return template.render(
        title=", ".join(axis.name for axis in axes),
        facts={"Points": f"{len(results)} painted of {len(outline.places)}", **outline.facts},
        pages=pages,
        linked=linked,
        column_name=axes[0].name,
        columns=value_labels(axes[0]),
        row_name=axes[1].name if len(axes) > 1 else "",
        names=names,
        rows=[[_number_cell(row[name]) for name in names] for row in rows],
        meanings={name: meaning for name, meaning in meanings.items() if name in names},
    )


def _environment() -> jinja2.Environment:
    # Escapes every value: names of models and LoRAs, prompts and error texts may hold anything.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )


def _cells(
    outline: Outline, results: Sequence[PointResult], failures: Mapping[int, str], folder: Path
) -> Iterator[tuple[Place, _Cell]]:
    by_index = {result.place.index: result for result in results}
    # Some 25 MB in all at most: what a phone can open.
    count = len(outline.places)
    side_px = 384 if count <= 100 else 256 if count <= 400 else 160
    for place in outline.places:
        label = outline.title(place.index)
        if place.index in by_index:
            file = by_index[place.index].painted.file
            image = _inline(folder / file, outline.icc_profile, side_px)
            yield place, _Cell(place.index, label, file=file, image=image)
        else:
            error = failures.get(place.index, "not painted")
            yield place, _Cell(place.index, label, error=error)


def _inline(path: Path, icc_profile: bytes | None, side_px: int) -> str:
    """The picture as a data URL, reduced."""
    with Image.open(path) as image:
        small = to_srgb(image.convert("RGB"), icc_profile)
    small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _number_cell(value: Any) -> dict[str, str]:
    if value is None:
        return {"text": "-", "sort": ""}
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return {"text": text, "sort": str(value)}
