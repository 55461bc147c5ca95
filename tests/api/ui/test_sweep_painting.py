"""Sweeps of the page against the real service; a worker's part is played by the test."""

from __future__ import annotations

import csv
import hashlib
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.accounts import open_account
from api.media import encode_png
from api.tasks import Claimant, Lease, TaskOutput
from api.ui.choices import Choices
from api.ui.painting import KeyPair
from api.ui.shelf import Shelf
from api.ui.sweep_handlers import SweepHandlers, SweepNotTaken, SweepShown
from api.ui.sweep_run import SweepRun
from backdrop.client.errors import BadSignature
from tests.api.bench import Bench
from tests.api.ui.test_painting import TestPainter
from tests.api.wire import KEYS, png

ALICE = KeyPair("alice", KEYS["alice"])
AXES = ["Steps=6,10,20", "Seed=1,2"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, public_base_url="https://pictures.example/api/")
    yield bench
    bench.store.close()


@pytest.fixture
def handlers(bench: Bench, tmp_path: Path) -> SweepHandlers:
    shelf = Shelf(tmp_path / "shelf", keep_s=60)
    return SweepHandlers(
        TestPainter(bench, shelf),
        shelf,
        max_image_pixels=10_000,
        points_per_megapixel_step=bench.settings.points_per_megapixel_step,
    )


@pytest.fixture
def choices(tmp_path: Path) -> Choices:
    (tmp_path / "cup.png").write_bytes(png())
    return Choices(str(tmp_path / "cup.png"), 64, 64, prompts="sky", seed=5)


@pytest.fixture
def begin(handlers: SweepHandlers, choices: Choices) -> Callable[..., SweepRun]:
    def begun(axes: list[str] = AXES, **changes: object) -> SweepRun:
        return handlers.begin(ALICE, handlers.offer(replace(choices, **changes), axes, None))

    return begun


@contextmanager
def at_work(bench: Bench, *, failing_seed: int | None = None) -> Iterator[None]:
    """A worker: each task's picture is as light as its seed says."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.02):
            for task in bench.store.claim(Claimant("w"), limit=8, lease_s=60):
                lease = Lease(task.uid, "w", task.token)
                if task.seed == failing_seed:
                    bench.store.fail(lease, error_code=1205, error_text="NaN in the latents")
                    continue
                data = picture(task.seed)
                key = f"out/{task.uid}/0.png"
                bench.blobs.put(key, data)
                digest = hashlib.sha256(data).hexdigest()
                output = TaskOutput(0, key, digest, "image/png", 64, 64, len(data), task.seed)
                bench.store.finish(lease, [output])

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def picture(seed: int) -> bytes:
    pixels = np.full((64, 64, 3), 20 * seed, np.uint8)
    return encode_png(Image.fromarray(pixels), icc_profile=None, parameters=None)


def painted(handlers: SweepHandlers, run: SweepRun) -> SweepShown:
    *_, last = handlers.paint(ALICE, run)
    return last


def sent(bench: Bench) -> list[str]:
    return bench.store.unfinished(tenant="alice")


def until(shown: Iterator[SweepShown], holds: Callable[[], bool]) -> SweepShown:
    deadline = time.monotonic() + 30
    for each in shown:
        if holds():
            return each
        assert time.monotonic() < deadline
    raise AssertionError("the sweep has ended")


def test_points_are_sent_together_and_reported_when_they_are_painted(
    bench: Bench, handlers: SweepHandlers, choices: Choices
):
    offer = handlers.offer(choices, AXES, None)
    assert offer.label.startswith("Paint 6 pictures for about ")
    run = handlers.begin(ALICE, offer)
    shown = handlers.paint(ALICE, run)
    first = until(shown, lambda: len(sent(bench)) == 6)
    assert (first.is_running, "0 of 6 painted" in first.status) == (True, True)
    with at_work(bench):
        *_, last = shown
    assert "Done: 6 of 6 painted" in last.status
    assert (last.is_running, last.can_go_on) == (False, False)
    assert bench.store.account(tenant="alice").used_points == run.points_charged == offer.price

    files = {path.name: path for path in last.files}
    assert list(files) == [
        "contact-sheet.png", "report.html", "sweep.csv", "sweep.json", "sweep.zip",
    ]  # fmt: skip
    assert last.sheets == (files["contact-sheet.png"],)
    rows = list(csv.DictReader(files["sweep.csv"].read_text().splitlines()))
    assert [(row["Steps"], row["Seed"], row["image seed"]) for row in rows] == [
        (steps, seed, seed) for steps in ("6", "10", "20") for seed in ("1", "2")
    ]
    assert all(0 <= float(row["seconds"]) < 30 for row in rows)
    points = json.loads(files["sweep.json"].read_text())["points"]
    assert points[4]["parameters"]["Request"]["MainModel"]["InferenceParams"]["Steps"] == 20
    assert {len(point["parameters"]["TaskUID"]) for point in points} == {20}
    with zipfile.ZipFile(files["sweep.zip"]) as whole:
        assert {*list(files)[:4], *(row["file"] for row in rows)} == {*whole.namelist()}
        assert whole.read(rows[3]["file"]) == picture(2)
    html = files["report.html"].read_text()
    assert ("6 painted of 6" in html, 'href="images/' in html) == (True, False)


def test_three_axes_give_a_sheet_for_each_value_of_the_third(
    bench: Bench, handlers: SweepHandlers, begin: Callable[..., SweepRun]
):
    run = begin(["Steps=6,10", "Seed=1,2", "CFGScale=2,4"])
    with at_work(bench):
        last = painted(handlers, run)
    assert [path.name for path in last.sheets] == ["contact-sheet-1.png", "contact-sheet-2.png"]


def test_a_sweep_that_was_left_is_taken_up_with_what_the_service_has_painted(
    bench: Bench, handlers: SweepHandlers, begin: Callable[..., SweepRun]
):
    run = begin()
    left = handlers.paint(ALICE, run)
    until(left, lambda: len(sent(bench)) == 6)
    uids = set(sent(bench))
    left.close()
    with at_work(bench):
        again = handlers.again(ALICE, run.id)
        assert again is not None
        assert ("Interrupted: 0 of 6" in again.status, again.can_go_on) == (True, True)
        last = painted(handlers, run)
    assert ("6 of 6" in last.status, last.can_go_on) == (True, False)
    assert {each.painted.parameters["TaskUID"] for each in run.results.values()} == uids
    again = handlers.again(ALICE, run.id)
    assert again is not None
    assert again.files == last.files


def test_who_takes_a_sweep_up_ends_the_work_of_whoever_had_it(
    handlers: SweepHandlers, begin: Callable[..., SweepRun]
):
    run = begin()
    first, second = handlers.paint(ALICE, run), handlers.paint(ALICE, run)
    assert next(first).is_running
    assert next(second).is_running
    assert not next(first).is_running
    assert list(first) == []


def test_a_canceled_sweep_cancels_its_tasks_and_goes_on_when_asked(
    bench: Bench, handlers: SweepHandlers, begin: Callable[..., SweepRun]
):
    run = begin()
    shown = handlers.paint(ALICE, run)
    until(shown, lambda: len(sent(bench)) == 6)
    handlers.cancel(ALICE, run.id)
    *_, last = shown
    assert ("Canceled: 0 of 6" in last.status, last.can_go_on) == (True, True)
    assert (sent(bench), last.files) == ([], ())
    with at_work(bench):
        last = painted(handlers, run)
    assert "Done: 6 of 6" in last.status


def test_a_point_that_fails_harms_no_other_and_can_be_tried_again(
    bench: Bench, handlers: SweepHandlers, begin: Callable[..., SweepRun]
):
    run = begin()
    with at_work(bench, failing_seed=2):
        last = painted(handlers, run)
    assert "3 of 6 painted, 3 failed: NaN in the latents" in last.status
    assert last.can_go_on
    content = json.loads(next(path for path in last.files if path.suffix == ".json").read_text())
    assert [each["values"]["Seed"] for each in content["failed"]] == ["2"] * 3
    with at_work(bench):
        assert "6 of 6" in painted(handlers, run).status


def test_what_the_service_refuses_is_told_with_its_point_and_sent_no_further(
    bench: Bench, handlers: SweepHandlers, begin: Callable[..., SweepRun]
):
    last = painted(handlers, begin(["lora:nobody=0.5,1", "Seed=1,2"]))
    assert "lora:nobody 0.5, Seed 1: " in last.status
    assert "0 of 4 painted" in last.status
    assert bench.caller.call(Action="ListRunningTasks")["TaskUIDList"] == []


def test_a_cut_out_without_alpha_is_told(
    handlers: SweepHandlers, begin: Callable[..., SweepRun], choices: Choices
):
    Path(choices.foreground).write_bytes(png(mode="RGB"))
    assert "error" in painted(handlers, begin()).status


def test_a_sweep_that_costs_more_than_is_left_is_not_begun(
    bench: Bench, begin: Callable[..., SweepRun]
):
    with bench.store.database.write() as connection:
        open_account(connection, "alice", total_points=5)
    with pytest.raises(SweepNotTaken, match="6 credits; 5 are left"):
        begin()


def test_credits_that_run_out_end_it_with_what_there_is(
    bench: Bench, handlers: SweepHandlers, begin: Callable[..., SweepRun]
):
    run = begin()
    with bench.store.database.write() as connection:
        open_account(connection, "alice", total_points=4)
    with at_work(bench):
        last = painted(handlers, run)
    assert "4 of 6 painted" in last.status
    assert "error" in last.status
    assert last.can_go_on


def test_a_full_queue_is_waited_for(tmp_path: Path, choices: Choices):
    (tmp_path / "small").mkdir()
    url = "https://pictures.example/api/"
    bench = Bench(tmp_path / "small", public_base_url=url, max_queued_per_key=2)
    shelf = Shelf(tmp_path / "small" / "shelf", keep_s=60)
    handlers = SweepHandlers(
        TestPainter(bench, shelf), shelf, max_image_pixels=10_000, points_per_megapixel_step=1
    )
    run = handlers.begin(ALICE, handlers.offer(choices, ["Seed=1..3"], None))
    with at_work(bench):
        assert "3 of 3" in painted(handlers, run).status
    bench.store.close()


def test_another_key_knows_nothing_of_a_sweep(
    handlers: SweepHandlers, begin: Callable[..., SweepRun]
):
    run = begin()
    assert handlers.known(KeyPair("bob", KEYS["bob"]), run.id) is None
    with pytest.raises(BadSignature):
        handlers.known(KeyPair("alice", "guessed"), run.id)
    assert handlers.known(ALICE, run.id[:-1]) is None
    assert handlers.known(ALICE, run.id) is run
