"""The report of a sweep: one HTML file that needs no network and no other file to be read."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from api.sweeps.grid import pages_of, value_labels
from api.sweeps.results import PointResult, as_rows
from engine.color import to_srgb
from engine.plan import GenerationPlan
from engine.sweep import SweepPlan, SweepPoint

_TEMPLATE = "report.html"
_MEANINGS = {
    "seconds": "share of the time its steps took, beside the points it shared forwards with",
    "forwards": "steps of the network",
    "sharpness": "variance of the Laplacian over the background",
    "seam gradient": "mean step between neighbouring background pixels along the outline, a share"
    " of full scale",
    "far gradient": "the same away from the outline",
    "delta e": "mean distance to the reference at the same place, in CIELAB",
    "palette distance": "between picture's and reference's colours, wherever they lie, in CIELAB",
}
# What all points may have in common, told where they do.
_FACTS: Mapping[str, Callable[[GenerationPlan], object]] = {
    "Prompt": lambda plan: plan.job.prompt,
    "Negative prompt": lambda plan: plan.job.negative_prompt,
    "Model": lambda plan: plan.model.name,
    "LoRAs": lambda plan: ", ".join(f"{a.sub_model.name} {a.weight:g}" for a in plan.loras),
    "Steps": lambda plan: plan.num_inference_steps,
    "Sampler": lambda plan: plan.sampler.value,
    "CFGScale": lambda plan: f"{plan.guidance_scale:g}",
    "ReferStrength": lambda plan: f"{1 - plan.job.strength:g}" if plan.job.reference else "",
    "DeepFusion": lambda plan: "on" if plan.job.deep_fusion else "",
    "Seed": lambda plan: plan.job.seed,
    "Size": lambda plan: f"{plan.width_px}x{plan.height_px}",
}


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
            "heading": page.heading or "Pictures",
            "rows": [
                {"label": row.label, "cells": [cells[point] for point in row.points]}
                for row in page.rows
            ],
        }
        for page in pages_of(axes)
    ]
    rows = as_rows(plan, results)
    return template.render(
        title=", ".join(axis.name for axis in axes),
        facts=_facts(plan, results),
        pages=pages,
        column_name=axes[0].name,
        columns=value_labels(axes[0]),
        row_name=axes[1].name if len(axes) > 1 else "",
        names=[name for name in rows[0] if name != "file"] if rows else [],
        rows=[
            [_number_cell(value) for name, value in row.items() if name != "file"] for row in rows
        ],
        meanings=_MEANINGS,
    )


def _environment() -> jinja2.Environment:
    # Escapes every value: names of models and LoRAs, prompts and error texts may hold anything.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )


def _facts(plan: SweepPlan, results: Sequence[PointResult]) -> dict[str, str]:
    """How many points there are, and what they have in common."""
    facts = {"Points": f"{len(results)} painted of {len(plan.points)}"}
    for name, fact in _FACTS.items():
        values = {str(fact(point.plan)) for point in plan.points}
        if len(values) == 1 and values != {""}:
            facts[name] = values.pop()
    return facts


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
