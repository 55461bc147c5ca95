"""The benchmark itself, on the smallest model: it runs, and what it compares paints alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from engine.engine import Engine
from engine.job import GeneratedImage, GenerationJob
from scripts.benchmark import __main__ as benchmark
from scripts.benchmark import device_mode
from scripts.benchmark.bench import QUICK, Bench
from scripts.benchmark.catalogue import ROWS
from scripts.benchmark.device_mode import Setting, measure_device
from scripts.benchmark.device_report import device_table
from scripts.benchmark.engine_jobs import run_together
from scripts.benchmark.litserve_server import litserve, litserve_pictures
from scripts.benchmark.quiet import Foreign, ForeignLoad
from scripts.benchmark.server import serving
from scripts.benchmark.workload import request_of
from scripts.benchmark.yardsticks import Yardstick, load_pipeline


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), QUICK)


def test_every_row_of_the_table_is_there() -> None:
    assert list(ROWS) == list(range(1, 24))


def test_it_refuses_to_run_on_a_busy_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = Foreign(1, "trainer", 1.5)
    monkeypatch.setattr(ForeignLoad, "disturbance", lambda _self: busy)
    with pytest.raises(SystemExit) as ended:
        benchmark.main(["--quick", "--rows", "1", "--output", str(tmp_path)])
    assert ended.value.code == 2
    assert "trainer (process 1) uses 1.50 cores" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_requests_differ_in_seed_prompt_and_mask(bench: Bench) -> None:
    first, second = (request_of(bench.shape("T"), index) for index in range(2))
    assert first.seed != second.seed
    assert first.prompt != second.prompt
    assert first.foreground.getchannel("A") != second.foreground.getchannel("A")


def test_the_yardstick_paints_a_picture_of_the_requests_size(bench: Bench) -> None:
    shape = bench.shape("T")
    request = request_of(shape)
    yardstick = Yardstick(load_pipeline(bench.model_folder("T")))
    assert yardstick.b0(request).size == (shape.canvas_px, shape.canvas_px)
    assert yardstick.b1(request).startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_real_server_paints_what_a_client_asks_for(bench: Bench) -> None:
    with serving(bench, "T") as server:
        client = server.client()
        bodies = [client.generate_body(request_of(bench.shape("T"), index)) for index in range(3)]
        assert client.generate(bodies[0]).startswith(b"\x89PNG")
        client.generate_all(bodies, poll_s=0.05)
        assert server.resident_bytes() > 10**8
        assert server.cpu_s() > 0
        client.close()


@pytest.mark.slow
def test_litserve_paints_in_batches(bench: Bench) -> None:
    pytest.importorskip("litserve")
    requests = [request_of(bench.shape("T"), index) for index in range(8)]
    with litserve(bench.model_folder("T"), bench.scratch("litserve")) as port:
        litserve_pictures(port, requests, num_clients=4)  # raises on any other answer than 200


def test_the_gpu_mode_runs_every_kind_of_setting(bench: Bench) -> None:
    chosen = [Setting(1, 64), Setting(2, 64, loras="each"), Setting(2, 64, loras="one")]
    readings = measure_device(bench, "cpu", "T", chosen)
    assert [each.error for each in readings] == [""] * 4
    assert all(each.pictures_per_s > 0 for each in readings)
    assert "| diffusers | 1 | 64 | none | eager |" in device_table(readings, "")


def test_a_setting_that_a_device_cannot_do_is_told_and_the_others_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(engine: Engine, jobs: Sequence[GenerationJob]) -> list[GeneratedImage]:
        if len(jobs) > 1:
            raise torch.OutOfMemoryError("4 GiB more")
        return run_together(engine, jobs)

    monkeypatch.setattr(device_mode, "run_together", too_much)
    readings = measure_device(bench, "cpu", "T", [Setting(2, 64), Setting(1, 64)])
    told = [each.error for each in readings if each.name == "ours"]
    assert told == ["OutOfMemoryError: 4 GiB more", ""]
