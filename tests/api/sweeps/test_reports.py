"""Contact sheets, the report and the tables of a sweep whose pictures are known."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.sweeps.contact_sheet import contact_sheets
from api.sweeps.grid import pages_of
from api.sweeps.planned import outline_of
from api.sweeps.reports import write_reports
from api.sweeps.results import PictureMeasurer, as_csv
from engine.job import Sampler
from engine.sweep import Axis, SweepPlan
from tests.api.sweeps.conftest import SIDE_PX, drawn

STEPS = Axis("num_inference_steps", (6, 10, 20), "Steps")
SEEDS = Axis("seed", (1, 2), "Seed")
CFG = Axis("guidance_scale", (1.0, 3.5), "CFGScale")
HOSTILE = "<script src=https://evil.example/x.js></script>\"'&"


def report(
    plan: SweepPlan, path: Path, *, without: tuple[int, ...] = (), linked: bool = True
) -> dict[str, Path]:
    painted = drawn(plan, path, without=without)
    failures = dict.fromkeys(without, f"out of memory {HOSTILE}")
    outline, job = outline_of(plan), plan.job
    measurer = PictureMeasurer(outline, path, foreground=job.foreground, reference=job.reference)
    results = list(measurer.measure_all(painted))
    files = write_reports(outline, path, results, failures, linked=linked)
    return {file.name: file for file in files}


# Pages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [(STEPS,), (STEPS, SEEDS), (STEPS, SEEDS, CFG)])
def test_every_point_lies_on_one_page(make_plan: Callable[..., SweepPlan], axes) -> None:
    pages = pages_of(axes)
    points = [point for page in pages for row in page.rows for point in row.points]
    assert sorted(points) == [point.coordinates for point in make_plan(*axes).points]
    assert {len(row.points) for page in pages for row in page.rows} == {3}


# Contact sheets ----------------------------------------------------------------------------------


def test_columns_are_the_first_axis_and_rows_the_second() -> None:
    def picture(point: tuple[int, ...]) -> Image.Image:
        return Image.new("RGB", (64, 64), (80 * point[0], 100 * point[1], 255))

    (sheet,) = contact_sheets([STEPS, SEEDS], (64, 64), picture)
    pixels = np.asarray(sheet)
    colors = [(80 * x, 100 * y, 255) for x in range(3) for y in range(2)]
    places = {color: np.argwhere((pixels == color).all(-1)) for color in colors}
    assert {len(each) for each in places.values()} == {320 * 320}
    corners = {color: tuple(each.min(0)) for color, each in places.items()}
    for x in range(3):
        assert len({corners[(80 * x, 100 * y, 255)][1] for y in range(2)}) == 1
    for y in range(2):
        assert len({corners[(80 * x, 100 * y, 255)][0] for x in range(3)}) == 1
    assert corners[(0, 0, 255)][1] < corners[(80, 0, 255)][1] < corners[(160, 0, 255)][1]
    assert corners[(0, 0, 255)][0] < corners[(0, 100, 255)][0]


def test_each_value_of_the_third_axis_has_a_sheet() -> None:
    seen: list[tuple[int, ...]] = []

    def picture(point: tuple[int, ...]) -> str:
        seen.append(point)
        return "failed"

    sheets = list(contact_sheets([STEPS, SEEDS, CFG], (64, 64), picture))
    assert [each[2] for each in seen] == [0] * 6 + [1] * 6
    assert len(sheets) == 2
    assert sheets[0].tobytes() != sheets[1].tobytes(), "headings tell them apart"


def test_long_labels_of_narrow_pictures_stay_apart() -> None:
    """Of a picture 32 pixels wide a label cut to its width would tell no sampler from another."""
    samplers = Axis("sampler", (Sampler.DPMPP_2M, Sampler.DPMPP_2M_KARRAS))
    same = Axis("sampler", samplers.values, labels=("dpmpp_2m", "dpmpp_2m"))

    def sheet(axis: Axis) -> Image.Image:
        return next(contact_sheets([axis], (32, 320), lambda _: "failed"))

    assert sheet(samplers).width > sheet(same).width


@pytest.mark.parametrize("size", [(1, 2560), (2560, 1)])
def test_a_sheet_of_many_columns_stays_within_bounds(size: tuple[int, int]) -> None:
    many = Axis("seed", tuple(range(200)))
    (sheet,) = contact_sheets([many], size, lambda _: "not painted")
    assert sheet.width < 24_000


# The report --------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Tags with their attributes, and the texts outside of script and style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.texts.append(data.strip())

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attrs[name] for each, attrs in self.tags if each == tag and name in attrs]


def test_the_report_needs_no_other_file_and_no_network(
    make_plan: Callable[..., SweepPlan], tmp_path: Path
) -> None:
    html = report(make_plan(STEPS, SEEDS, CFG), tmp_path)["report.html"].read_text()
    page = Tags(html)
    sources = page.attributes("img", "src")
    assert len(sources) == 12
    for source in sources:
        head, _, data = source.partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.size == (SIDE_PX, SIDE_PX)
    for tag in ("script", "link", "iframe", "source", "object", "embed"):
        assert page.attributes(tag, "src") == page.attributes(tag, "href") == []
    assert "url(" not in html
    assert "@import" not in html
    policy = page.attributes("meta", "content")[1]
    assert policy.startswith("default-src 'none'; img-src data:;")
    links = page.attributes("a", "href")
    assert all(re.fullmatch(r"images/\d{4}\.png|#point-\d+", link) for link in links)
    assert {link for link in links if link[0] == "i"} == {
        f"images/{index:04}.png" for index in range(12)
    }
    assert set(page.attributes("td", "id")) == {f"point-{index}" for index in range(12)}
    assert "width=device-width" in page.attributes("meta", "content")[0]


def test_the_report_escapes_every_text(make_plan: Callable[..., SweepPlan], tmp_path: Path) -> None:
    axis = Axis("seed", (1, 2), f"Seed{HOSTILE}", (f"one{HOSTILE}", f"two{HOSTILE}"))
    plan = make_plan(axis, STEPS, prompt=f"sky {HOSTILE}")
    page = Tags(report(plan, tmp_path, without=(5,))["report.html"].read_text())
    assert [tag for tag, _ in page.tags].count("script") == 1
    for text in (f"sky {HOSTILE}", f"one{HOSTILE}", f"Seed{HOSTILE}", f"out of memory {HOSTILE}"):
        assert text in page.texts
    assert page.attributes("img", "alt")[0] == f"Seed{HOSTILE} one{HOSTILE}, Steps 6"


def test_the_table_can_be_sorted_by_numbers(
    make_plan: Callable[..., SweepPlan], tmp_path: Path
) -> None:
    page = Tags(report(make_plan(STEPS, SEEDS), tmp_path)["report.html"].read_text())
    rows = np.array(page.attributes("td", "data-sort")).reshape(6, -1)
    assert rows[:, 0].tolist() == [str(index) for index in range(6)]
    assert rows[:, 1].tolist() == ["6", "6", "10", "10", "20", "20"]
    assert all(float(value) >= 0 for value in rows.ravel())


def test_a_page_to_be_read_without_its_folder_links_to_itself_alone(
    make_plan: Callable[..., SweepPlan], tmp_path: Path
) -> None:
    html = report(make_plan(STEPS, SEEDS), tmp_path, linked=False)["report.html"].read_text()
    page = Tags(html)
    assert len(page.attributes("img", "src")) == 6
    assert set(page.attributes("a", "href")) == {f"#point-{index}" for index in range(6)}


# Tables ------------------------------------------------------------------------------------------


def test_tables_tell_values_seeds_times_and_measures(
    make_plan: Callable[..., SweepPlan], tmp_path: Path
) -> None:
    files = report(make_plan(STEPS, SEEDS), tmp_path, without=(4,))
    rows = list(csv.DictReader(files["sweep.csv"].read_text().splitlines()))
    content = json.loads(files["sweep.json"].read_text())
    assert [row["point"] for row in rows] == ["0", "1", "2", "3", "5"]
    assert [(row["Steps"], row["Seed"]) for row in rows[-2:]] == [("10", "2"), ("20", "2")]
    assert {row["image seed"] for row in rows} == {"7"}
    assert {row["seconds"] for row in rows} == {"0.5"}
    assert content["axes"][0] == {"name": "Steps", "values": ["6", "10", "20"]}
    (failed,) = content["failed"]
    assert failed["values"] == {"Steps": "20", "Seed": "1"}
    for row, point in zip(rows, content["points"], strict=True):
        assert point["forwards"] == int(row["forwards"]) == int(row["Steps"])
        assert float(row["delta e"]) == point["measures"]["delta_e"] > 0
        assert (point["measures"]["sharpness"], point["measures"]["seam_gradient"]) == (0, 0)
        assert point["parameters"] == {"prompt": "blue sky"}
        assert (tmp_path / point["file"]).is_file()


def test_no_spreadsheet_runs_a_name_and_numbers_stay_numbers() -> None:
    table = as_csv([{"=cmd()": "@x", "b": "-1", "c": -0.5, "d": None, "e": "+2M"}])
    assert table == "'=cmd(),b,c,d,e\n'@x,-1,-0.5,,'+2M\n"
