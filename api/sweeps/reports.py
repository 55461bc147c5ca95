"""The reports of a sweep into the folder of its pictures: contact sheets, a page, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from api.media import encode_png
from api.sweeps.contact_sheet import contact_sheets
from api.sweeps.folder import write_file
from api.sweeps.outline import Outline
from api.sweeps.report import html_report
from api.sweeps.results import PointResult, as_csv, as_json, as_rows
from engine.color import to_srgb


def write_reports(
    outline: Outline,
    folder: Path,
    results: Sequence[PointResult],
    failures: Mapping[int, str],
    *,
    linked: bool = True,
) -> list[Path]:
    """Contact sheets, report.html, sweep.csv and sweep.json.

    Args:
        outline: of the sweep.
        folder: of the pictures.
        results: of the points that are painted.
        failures: by index, what others ended with.
        linked: whether the page links to the pictures; else it is read without the folder.

    Returns:
        The files, in this order.

    Raises:
        OSError: a picture cannot be read, or a file cannot be written.
    """
    files = _write_sheets(outline, folder, results, failures)
    texts = {
        "report.html": html_report(outline, results, failures, folder, linked=linked),
        "sweep.csv": as_csv(as_rows(outline, results)),
        "sweep.json": as_json(outline, results, failures),
    }
    for name, text in texts.items():
        write_file(folder / name, text.encode("utf-8", "replace"))
        files.append(folder / name)
    return files


def _write_sheets(
    outline: Outline, folder: Path, results: Sequence[PointResult], failures: Mapping[int, str]
) -> list[Path]:
    painted = {result.place.coordinates: folder / result.painted.file for result in results}
    failed = {outline.places[index].coordinates for index in failures}

    def picture(coordinates: tuple[int, ...]) -> Image.Image | str:
        if coordinates not in painted:
            return "failed" if coordinates in failed else "not painted"
        with Image.open(painted[coordinates]) as image:
            return to_srgb(image.convert("RGB"), outline.icc_profile)

    size = (outline.places[0].width_px, outline.places[0].height_px)
    has_pages = len(outline.axes) > 2
    files = []
    for number, sheet in enumerate(contact_sheets(outline.axes, size, picture), start=1):
        file = folder / (f"contact-sheet-{number}.png" if has_pages else "contact-sheet.png")
        write_file(file, encode_png(sheet, icc_profile=None, parameters=None))
        files.append(file)
    return files
