"""`backdrop sweep` on the embedded model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api import cli
from api.sweeps.folder import SweepFolder
from tests.api.wire import png

MODELS = """
default_model: small
models:
  - {name: small, path: package:embedded, family: sd1, native_size_px: 256, min_area_ratio: 0}
"""
AXES = ("--axis", "Steps=6,7", "--axis", "CFGScale=1,3")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("BACKDROP_"):
            monkeypatch.delenv(name)


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """A foreground of 64x64, a reference, and a model that paints small canvases as they are."""
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "item.png").write_bytes(png(64, 64))
    (tmp_path / "reference.png").write_bytes(png(90, 50, "RGB"))
    return [
        *("--models", str(tmp_path / "models.yaml"), "--prompt", "blue sky", "--device", "cpu"),
        *("--reference", str(tmp_path / "reference.png"), "--refer-strength", "0.2"),
    ]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and error of the command in this process."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_sweep_paints_what_generate_paints_and_reports_it(capsys, tmp_path: Path, options):
    item, output = tmp_path / "item.png", tmp_path / "out"
    status, out, err = run(
        capsys, "sweep", item, *options, *AXES, "--seed", 5, "--json", "--output", output
    )
    assert status == 0, err
    outcome = json.loads(out)
    assert (outcome["points"], outcome["painted"], outcome["kept"]) == (4, 4, 0)
    files = ["contact-sheet.png", "report.html", "sweep.csv", "sweep.json"]
    assert outcome["files"] == [str(output / name) for name in files]
    points = json.loads((output / "sweep.json").read_text())["points"]
    assert [point["values"] for point in points][1] == {"Steps": "6", "CFGScale": "3"}
    assert all(point["measures"]["delta_e"] > 0 for point in points)

    single = ("--steps", 7, "--cfg-scale", 3, "--seed", 5, "--output", tmp_path / "single")
    status, _, err = run(capsys, "generate", "--foreground", item, *options, *single)
    assert status == 0, err
    painted = output / points[3]["file"]
    assert np.abs(pixels(painted) - pixels(tmp_path / "single" / "5.png")).max() <= 1
    with Image.open(painted) as image:
        assert "Steps: 7, Sampler: Euler, CFG scale: 3, Seed: 5" in image.info["parameters"]


def test_a_sweep_that_was_stopped_goes_on(capsys, tmp_path: Path, options, monkeypatch):
    arguments = ("sweep", tmp_path / "item.png", *options, *AXES)
    keep = SweepFolder.add

    def stopping(folder: SweepFolder, index: int, png: bytes, **told):
        point = keep(folder, index, png, **told)
        if len(list((folder.path / "images").glob("*.png"))) == 2:
            raise KeyboardInterrupt
        return point

    output = tmp_path / "out"
    with monkeypatch.context() as context:
        context.setattr(SweepFolder, "add", stopping)
        status, _, err = run(capsys, *arguments, "--output", output)
    assert status == 130
    assert "goes on from here" in err
    before = {path: path.stat().st_mtime_ns for path in (output / "images").iterdir()}
    assert len(before) == 2
    assert not (output / "report.html").exists()

    status, out, err = run(capsys, *arguments, "--json", "--output", output)
    assert status == 0, err
    assert (json.loads(out)["kept"], json.loads(out)["painted"]) == (2, 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before

    seed = json.loads((output / "manifest.json").read_text())["seed"]
    whole = tmp_path / "whole"
    status, _, err = run(capsys, *arguments, "--seed", seed, "--output", whole)
    assert status == 0, err
    for index in range(4):
        name = f"images/{index:04}.png"
        assert np.abs(pixels(whole / name) - pixels(output / name)).max() <= 1

    status, out, err = run(capsys, *arguments, "--steps", 9, "--output", output)
    assert status == 2
    assert "settings differ" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--axis", "Steps=6,5"], ["axis Steps: 5: "]),
        (["--axis", "lora:nobody=1,2"], ["axis lora:nobody: 1: ", "nobody"]),
        (["--axis", "Model=small,other"], ["axis Model: other: "]),
        (["--axis", "Seed=1,2", "--steps", "5"], ["Steps"]),
        (["--axis", "Seed=1", "--model", "other"], ["other"]),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_written(
    capsys, tmp_path: Path, options, arguments, words
):
    output = tmp_path / "out"
    status, out, err = run(
        capsys, "sweep", tmp_path / "item.png", *options, *arguments, "--output", output
    )
    assert (status, out) == (2, "")
    (line,) = [each for each in err.splitlines() if each.startswith("backdrop: ")]
    for word in words:
        assert word in line
    assert not output.exists()


@pytest.mark.parametrize("axis", ["ReferStrength=0.1,0.2", "DeepFusion=off,on"])
def test_an_axis_of_the_reference_needs_one(capsys, tmp_path: Path, options, axis):
    (tmp_path / "item.png").touch()
    status, _, err = run(capsys, "sweep", tmp_path / "item.png", *options[:6], "--axis", axis)
    assert status == 2
    assert f"axis {axis.partition('=')[0]}: needs --reference" in err


def test_the_help_shows_examples(capsys):
    status, out, _ = run(capsys, "sweep", "--help")
    assert status == 0
    assert "backdrop sweep cutout.png" in out
    assert "lora:NAME" in out


@pytest.mark.slow
def test_a_killed_sweep_goes_on(capsys, tmp_path: Path, options):
    output = tmp_path / "out"
    arguments = ["sweep", str(tmp_path / "item.png"), *options, "--axis", "Steps=6,100"]
    arguments += ["--axis", "Seed=1,2", "--output", str(output)]
    process = subprocess.Popen(
        [sys.executable, "-m", "backdrop", *arguments], stderr=subprocess.DEVNULL
    )
    log, deadline = output / "painted.jsonl", time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") >= 1):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (output / "report.html").exists()
    status, out, err = run(capsys, *arguments, "--json")
    assert status == 0, err
    outcome = json.loads(out)
    assert outcome["kept"] >= 1
    assert outcome["kept"] + outcome["painted"] == 4
