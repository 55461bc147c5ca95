"""`/readyz` names what is missing, and nothing else of the server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api import readiness as readiness_module
from api.instruments.snapshot import SnapshotFile, snapshots_folder
from api.readiness import REASONS, Readiness
from tests.api.bench import Bench
from tests.api.instruments.snapshots import snapshot
from tests.api.s3_server import S3Server, s3_fields


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness_module, "PROBE_S", 0.0)


def look(bench: Bench) -> tuple[int, dict[str, Any]]:
    answer = bench.caller.http.get("/readyz")
    assert str(bench.settings.data_dir) not in answer.text
    return answer.status_code, answer.json()


def of(bench: Bench) -> Readiness:
    return bench.app.state.service.readiness


def assert_not_ready(bench: Bench, *names: str) -> None:
    status, content = look(bench)
    assert (status, content["ready"]) == (503, False)
    assert content["reasons"] == [REASONS[name] for name in names]
    for name in names:
        assert content[name] is (name == "draining")
    assert bench.caller.http.get("/livez").status_code == 200


def test_a_fit_server_is_ready_and_leaves_no_probe_behind(bench: Bench):
    bench.submit()
    files = bench.files()
    status, content = look(bench)
    assert (status, content["ready"], content["reasons"]) == (200, True, [])
    assert (content["queued"], content["draining"]) == (1, False)
    assert {content[name] for name in REASONS if name != "draining"} == {True}
    assert bench.files() == files


def test_a_store_that_does_not_answer(bench: Bench):
    bench.store.close()
    database = bench.settings.data_dir / "tasks.sqlite3"
    database.unlink()
    database.mkdir()
    assert_not_ready(bench, "store")


def test_a_blob_folder_that_takes_nothing(bench: Bench):
    blobs = bench.settings.data_dir / "blobs"
    blobs.rmdir()
    blobs.write_text("in the way")
    status, content = look(bench)
    assert (status, content["blobs"]) == (503, False)
    assert REASONS["blobs"] in content["reasons"]


def test_a_models_file_that_does_not_load(bench: Bench):
    good = bench.settings.models.read_text()
    bench.settings.models.write_text("models: [")
    assert_not_ready(bench, "models")
    bench.settings.models.write_text(good)
    assert look(bench)[0] == 200


def test_a_disk_below_its_floor(tmp_path: Path):
    assert_not_ready(Bench(tmp_path, min_free_disk_bytes=10**18), "disk")


def test_a_server_that_runs_workers_has_a_living_one(bench: Bench):
    file = SnapshotFile(snapshots_folder(bench.settings.data_dir), "w")
    mine = {"pid": os.getppid(), "parent_pid": os.getpid()}  # some process that lives
    of(bench).runs_workers = True
    assert_not_ready(bench, "workers")
    for unfit in (
        {"is_ready": False},
        {"pid": 2**22 + 1},  # above every process id
        {"parent_pid": 1},  # of another server on the same folder
        {"written_at": time.time() - 100},
    ):
        file.write(snapshot(**{**mine, **unfit}))
        assert_not_ready(bench, "workers")
    file.write(snapshot(**mine))
    assert look(bench)[0] == 200


def test_a_server_that_is_being_stopped(bench: Bench):
    of(bench).drain()
    assert_not_ready(bench, "draining")


def test_a_prober_in_a_hurry_gets_the_last_probe(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(readiness_module, "PROBE_S", 60.0)
    assert look(bench)[0] == 200
    bench.settings.models.write_text("models: [")
    assert look(bench)[0] == 200


def test_every_reason_is_one_line_without_values():
    assert json.dumps(REASONS).isascii()
    assert all("%" not in reason and "{" not in reason for reason in REASONS.values())


# An object store ---------------------------------------------------------------------------------


@pytest.fixture
def on_s3(tmp_path: Path, s3_server: S3Server) -> Iterator[Bench]:
    fields = s3_fields(s3_server.port, s3_timeout_s=20.0, s3_retry_s=10.0)
    bench = Bench(tmp_path, **fields)
    yield bench
    bench.store.close()


def test_an_object_store_is_asked_now_and_then_however_many_ask(on_s3: Bench, monkeypatch):
    monkeypatch.setattr(readiness_module, "PROBE_S", 60.0)
    put, puts = on_s3.blobs.put, []
    on_s3.blobs.put = lambda key, data: puts.append(key) or put(key, data)  # type: ignore[method-assign]
    with ThreadPoolExecutor(8) as pool:
        assert {status for status, _ in pool.map(look, [on_s3] * 16)} == {200}
    assert len(puts) == 1
    assert list(on_s3.blobs.keys("probe")) == []


def test_a_frozen_object_store_is_told_soon_and_holds_no_prober(
    on_s3: Bench, s3_server: S3Server, monkeypatch, caplog
):
    monkeypatch.setattr(readiness_module, "ANSWER_S", 0.5)
    assert look(on_s3)[0] == 200
    with s3_server.frozen():
        for longest_s in (0.5 + 2.0, 0.4, 0.4):  # the first waits; a busy machine adds to it
            started = time.monotonic()
            assert_not_ready(on_s3, "blobs")
            assert time.monotonic() - started < longest_s
    lines = [each.getMessage() for each in caplog.records if "not ready" in each.getMessage()]
    assert lines == [f"not ready: {REASONS['blobs']}: no answer within 0.5 s"]
    deadline = time.monotonic() + 30
    while look(on_s3)[0] != 200:  # by itself
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_credentials_that_do_not_fit_are_not_ready(tmp_path: Path, s3_server: S3Server):
    fields = s3_fields(s3_server.port, s3_secret_access_key="wrong", s3_retry_s=0.0)
    bench = Bench(tmp_path, **fields)
    assert_not_ready(bench, "blobs")
    bench.store.close()
