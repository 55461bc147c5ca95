"""A sweep into its folder: what is missing is painted, then all is measured and reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from api.media import encode_png
from api.sweeps.contact_sheet import contact_sheets
from api.sweeps.folder import PaintedPoint, SweepFolder, write_file
from api.sweeps.report import html_report
from api.sweeps.results import PictureMeasurer, PointResult, as_csv, as_json, as_rows
from engine.color import to_srgb
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


def measure_all(
    plan: SweepPlan, folder: Path, painted: Mapping[int, PaintedPoint]
) -> Iterator[PointResult]:
    """Measures what is painted, in the order of the points.

    Raises:
        OSError: a picture cannot be read.
    """
    measurer = PictureMeasurer(plan, folder)
    for index in sorted(painted):
        yield measurer.measure(painted[index])


def write_reports(
    plan: SweepPlan, folder: Path, results: Sequence[PointResult], failures: Mapping[int, str]
) -> list[Path]:
    """Contact sheets, report.html, sweep.csv and sweep.json.

    Returns:
        The files, in this order.

    Raises:
        OSError: a picture cannot be read, or a file cannot be written.
    """
    files = _write_sheets(plan, folder, results, failures)
    texts = {
        "report.html": html_report(plan, results, failures, folder),
        "sweep.csv": as_csv(as_rows(plan, results)),
        "sweep.json": as_json(plan, results, failures),
    }
    for name, text in texts.items():
        write_file(folder / name, text.encode("utf-8", "replace"))
        files.append(folder / name)
    return files


def _write_sheets(
    plan: SweepPlan, folder: Path, results: Sequence[PointResult], failures: Mapping[int, str]
) -> list[Path]:
    painted = {result.point.coordinates: folder / result.painted.file for result in results}
    failed = {plan.points[index].coordinates for index in failures}

    def picture(coordinates: tuple[int, ...]) -> Image.Image | str:
        if coordinates not in painted:
            return "failed" if coordinates in failed else "not painted"
        with Image.open(painted[coordinates]) as image:
            return to_srgb(image.convert("RGB"), plan.job.icc_profile)

    size = (plan.points[0].plan.width_px, plan.points[0].plan.height_px)
    has_pages = len(plan.axes) > 2
    files = []
    for number, sheet in enumerate(contact_sheets(plan.axes, size, picture), start=1):
        file = folder / (f"contact-sheet-{number}.png" if has_pages else "contact-sheet.png")
        write_file(file, encode_png(sheet, icc_profile=None, parameters=None))
        files.append(file)
    return files
