"""What a running server tells of a task it has painted."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.instruments.snapshot import read_snapshots, snapshots_folder
from tests.e2e.client import PicpikClient
from tests.e2e.conftest import KEYS, Server

STEPS = 6


@pytest.fixture(scope="module")
def painted(alice: PicpikClient, examples: Path) -> str:
    """TaskUID of a finished task of two images."""
    uid = alice.submit(
        [(examples / "coffee-cup.png").read_bytes()],
        request_uuid="q-42",
        TransparentForeground={"ImageIndex": 0},
        MainModel={"ModelCode": "PICPIK General", "InferenceParams": {"Steps": STEPS}},
        BatchSize=2,
        Width=64,
        Height=64,
    )
    assert alice.wait(uid)["Status"] == "Finished"
    return uid


def soon(look: Callable[[], Any]) -> Any:
    """What `look` gives once it gives something: numbers travel for a second or two."""
    deadline = time.monotonic() + 20
    while not (found := look()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.2)
    return found


def numbers(server: Server) -> dict[str, float]:
    """All series of the page, summed over their labels."""
    (url,) = re.findall(r"metrics at (http://127.0.0.1:\d+/metrics)", server.log.read_text())
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(httpx.get(url, trust_env=False).text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


def test_the_page_of_metrics_shows_what_the_engine_did(server: Server, painted: str) -> None:
    def shown() -> dict[str, float] | None:
        seen = numbers(server)
        has_all = seen["backdrop_steps_total"] >= 2 * STEPS and seen["backdrop_tasks_ended_total"]
        return seen if has_all else None

    seen = soon(shown)
    assert painted
    assert seen["backdrop_step_seconds_count"] >= STEPS
    assert seen["backdrop_step_seconds_sum"] > 0
    assert seen["backdrop_forward_lanes_sum"] >= 2 * STEPS
    assert seen["backdrop_cache_misses_total"] >= 2
    assert seen["backdrop_model_loaded"] == seen["backdrop_worker_ready"] == 1
    assert seen["backdrop_device_memory_used_bytes"] > 0
    assert seen["backdrop_device_memory_used_bytes"] < seen["backdrop_device_memory_total_bytes"]
    assert seen["backdrop_http_requests_total"] >= 2
    assert seen["process_resident_memory_bytes"] > 0


def test_a_worker_writes_its_numbers_beside_the_store(server: Server, painted: str) -> None:
    (worker,) = read_snapshots(snapshots_folder(server.folder / "data"))
    assert worker.parent_pid == server.process.pid
    assert worker.counts.starts >= 1
    assert painted


def test_all_programs_log_objects_about_their_task(server: Server, painted: str) -> None:
    text = server.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["process"] for line in lines} == {"api", "supervisor", "compute"}
    mine = [line for line in lines if line.get("task_uid") == painted]
    assert {"api", "supervisor"} <= {line["process"] for line in mine}
    assert mine[0]["request_uuid"] == "q-42"
    for private_key in KEYS.values():
        assert private_key not in text
