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

from api.sweeps.results import PointResult, as_rows
from engine.color import to_srgb
from engine.sweep import SweepPlan, SweepPoint

_TEMPLATE = "report.html"
_EXPLANATION = (
    "seconds: the point's share of the time its steps took, beside those it shared forwards with. "
    "forwards: steps of the network. sharpness: variance of the Laplacian over the background. "
    "seam_gradient: mean step between neighbouring background pixels along the outline, a share of "
    "full scale; far_gradient: the same away from it. delta_e: mean distance to the reference at "
    "the same place, in CIELAB; palette_distance: between the two palettes, wherever their colours lie."
)


@dataclass(frozen=True, slots=True)
class _Cell:
    index: int
    label: str
    file: str = ""
    image: str = ""
    error: str = ""


def html_report(
    plan: SweepPlan, results: Sequence[PointResult], failures: Mapping[int, str], folder: Path
) -> str:
    """The whole page; pictures are in it, reduced, and link to the files beside it.

    Args:
        plan: of the sweep.
        results: of the points that are painted.
        failures: by index, what the others ended with.
        folder: of the pictures.

    Raises:
        OSError: a picture cannot be read.
    """
    axes = plan.axes
    template = _environment().get_template(_TEMPLATE)
    cells = {cell.coordinates: each for cell, each in _cells(plan, results, failures, folder)}
    pages = [
        {
            "heading": f"{axes[2].name}: {axes[2].label(page[0])}" if page else "Pictures",
            "rows": [
                {
                    "label": axes[1].label(row) if len(axes) > 1 else "",
                    "cells": [
                        cells[(*(column, row)[: len(axes)], *page)]
                        for column in range(len(axes[0].values))
                    ],
                }
                for row in range(len(axes[1].values) if len(axes) > 1 else 1)
            ],
        }
        for page in ([(at,) for at in range(len(axes[2].values))] if len(axes) > 2 else [()])
    ]
    rows = as_rows(plan, results)
    return template.render(
        title=", ".join(axis.name for axis in axes),
        facts=_facts(plan, results),
        pages=pages,
        column_name=axes[0].name,
        columns=[axes[0].label(at) for at in range(len(axes[0].values))],
        row_name=axes[1].name if len(axes) > 1 else "",
        names=[name for name in rows[0] if name != "file"] if rows else [],
        rows=[
            [_number_cell(value) for name, value in row.items() if name != "file"] for row in rows
        ],
        explanation=_EXPLANATION,
    )


def _environment() -> jinja2.Environment:
    # Escapes every value: names of models and LoRAs, prompts and error texts may hold anything.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )


def _facts(plan: SweepPlan, results: Sequence[PointResult]) -> list[tuple[str, str]]:
    """What all points have in common, and how many there are."""
    job = plan.job
    swept = {field for axis in plan.axes for field in axis.fields}
    facts = {
        "prompt": job.prompt or "none",
        "negative_prompt": job.negative_prompt or "none",
        "model_name": job.model_name,
        "seed": str(job.seed),
    }
    size = plan.points[0].plan
    return [
        ("Points", f"{len(results)} painted of {len(plan.points)}"),
        ("Size", f"{size.width_px}x{size.height_px}"),
        *(
            (name.replace("_", " ").capitalize(), value)
            for name, value in facts.items()
            if name not in swept
        ),
    ]


def _cells(
    plan: SweepPlan, results: Sequence[PointResult], failures: Mapping[int, str], folder: Path
) -> Iterator[tuple[SweepPoint, _Cell]]:
    by_index = {result.point.index: result for result in results}
    # Some 25 MB in all at most: what a phone can open.
    side_px = 384 if len(plan.points) <= 100 else 256 if len(plan.points) <= 400 else 160
    for point in plan.points:
        label = ", ".join(
            f"{axis.name} {text}" for axis, text in zip(plan.axes, plan.labels(point), strict=True)
        )
        if point.index in by_index:
            file = by_index[point.index].painted.file
            image = _inline(folder / file, point.job.icc_profile, side_px)
            yield point, _Cell(point.index, label, file=file, image=image)
        else:
            error = failures.get(point.index, "not painted")
            yield point, _Cell(point.index, label, error=error)


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
