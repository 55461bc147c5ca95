"""A sweep of an engine in this process into its folder: what is missing is painted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from api.media import encode_png
from api.sweeps.folder import PaintedPoint, SweepFolder
from engine.sweep import SweepPlan
from engine.sweep_run import PointDone, SweepEvent, run_points

if TYPE_CHECKING:
    from engine.engine import Engine


def paint_missing(
    engine: Engine,
    plan: SweepPlan,
    folder: SweepFolder,
    painted: dict[int, PaintedPoint],
    *,
    write_parameters: bool,
) -> Iterator[SweepEvent]:
    """Paints the points that are not in the folder yet.

    Args:
        engine: idle.
        plan: of the sweep.
        folder: claimed by it.
        painted: what is there, by index; what is added joins it.
        write_parameters: into the pictures.

    Raises:
        OSError: a picture cannot be written.
    """
    missing = [point for point in plan.points if point.index not in painted]
    with closing(run_points(engine, missing)) as events:
        for event in events:
            if isinstance(event, PointDone):
                point = _keep(event, folder, write_parameters=write_parameters)
                painted[point.index] = point
            yield event


def _keep(done: PointDone, folder: SweepFolder, *, write_parameters: bool) -> PaintedPoint:
    image = done.image
    png = encode_png(
        image.image,
        icc_profile=image.icc_profile,
        parameters=image.parameters if write_parameters else None,
    )
    return folder.add(
        done.point.index,
        png,
        seed=image.seed,
        seconds=done.seconds,
        parameters=image.parameters,
    )
