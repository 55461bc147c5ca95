"""Law 2 with real processes: whatever is killed, every accepted task ends, once and truly."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from api.settings import Settings
from api.store import open_store
from api.tasks import TaskStatus
from tests.e2e.client import PicpikClient, as_png
from tests.e2e.conftest import Server

PATIENCE_S = 240
Start = Callable[[], tuple[Server, PicpikClient]]


@pytest.fixture(scope="module")
def fields(examples: Path) -> dict[str, Any]:
    """Two images of many steps: long enough to be hit in the middle."""
    with Image.open(examples / "coffee-cup.png") as picture:
        cup = picture.resize((96, 64), Image.Resampling.BICUBIC)
    return {
        "images": [as_png(cup)],
        "MainModel": {"ModelCode": "PICPIK General", "InferenceParams": {"Steps": 60}},
        "PositivePrompts": ["blue sky"],
        "TransparentForeground": {"ImageIndex": 0},
        "Seed": 21,
        "BatchSize": 2,
    }


@pytest.fixture(scope="module")
def calm(alice: PicpikClient, fields: dict[str, Any]) -> list[Image.Image]:
    """The pictures of an undisturbed run."""
    return alice.generate(**fields)[1]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers on one data folder; stops what is left of them."""
    with ExitStack() as stack:

        def start_one() -> tuple[Server, PicpikClient]:
            # A short lease: a killed server's tasks come back when it is over.
            server = Server(tmp_path, BACKDROP_LEASE_S="5")
            stack.callback(lambda: server.process.poll() is None and server.stop())
            client = server.client("alice")
            stack.enter_context(client.http)
            return server, client

        yield start_one


def test_a_killed_compute_child_costs_nothing_but_time(
    start: Start, fields: dict[str, Any], calm: list[Image.Image]
) -> None:
    server, client = start()
    uid = client.submit(**fields)
    _wait_until_running(client, uid)
    _oldest(server, "api.compute").kill()
    _assert_finished_once(server, client, uid, calm)


def test_a_killed_supervisor_is_replaced_and_its_task_finishes(
    start: Start, fields: dict[str, Any], calm: list[Image.Image]
) -> None:
    server, client = start()
    uid = client.submit(**fields)
    _wait_until_running(client, uid)
    orphan = _oldest(server, "api.compute")
    _oldest(server, "api.supervisor").kill()
    orphan.wait(timeout=10)  # it dies with its parent
    _assert_finished_once(server, client, uid, calm)


def test_tasks_survive_the_death_of_the_whole_server(
    start: Start, fields: dict[str, Any], calm: list[Image.Image]
) -> None:
    server, client = start()
    running = client.submit(**fields)
    queued = [client.submit(**fields) for _ in range(2)]
    _wait_until_running(client, running)
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()

    server, client = start()
    for uid in [running, *queued]:
        _assert_finished_once(server, client, uid, calm)


@pytest.mark.parametrize("busy", [True, False], ids=["with a task running", "at its start"])
def test_nothing_outlives_the_main_process_and_its_tasks_finish_after_a_restart(
    start: Start, fields: dict[str, Any], calm: list[Image.Image], busy: bool
) -> None:
    server, client = start()
    if busy:
        uid = client.submit(**fields)
        _wait_until_running(client, uid)
    else:
        _oldest(server, "api.supervisor")  # it runs, and is still importing its libraries
    server.process.kill()
    server.process.wait()
    deadline = time.monotonic() + 30
    while left := _session(server):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)

    server, client = start()
    if not busy:
        uid = client.submit(**fields)
    _assert_finished_once(server, client, uid, calm)


def test_a_task_that_kills_its_child_ends_after_three_starts_and_its_neighbours_finish(
    start: Start, fields: dict[str, Any], calm: list[Image.Image]
) -> None:
    server, client = start()
    neighbours = [client.submit(**fields)]
    poison = client.submit(**fields)
    neighbours.append(client.submit(**fields))

    store = open_store(Settings(data_dir=server.folder / "data"))
    killed_starts: set[int] = set()
    deadline = time.monotonic() + PATIENCE_S
    while not (record := store.get(poison)).status.is_final:
        assert time.monotonic() < deadline
        if record.status is TaskStatus.RUNNING and record.attempts not in killed_starts:
            killed_starts.add(record.attempts)
            _oldest(server, "api.compute").kill()
        time.sleep(0.02)
    store.close()

    assert killed_starts == {1, 2, 3}
    detail = client.detail(poison)
    assert detail["Status"] == "Error"
    assert detail["ErrorCode"] == 1205
    assert detail["ImgList"] == []
    for uid in neighbours:
        _assert_finished_once(server, client, uid, calm)


def test_a_stopped_server_gives_its_task_back_unharmed(
    start: Start, fields: dict[str, Any], calm: list[Image.Image]
) -> None:
    server, client = start()
    uid = client.submit(**fields)
    _wait_until_running(client, uid)
    assert server.stop() == 0
    server, client = start()
    _assert_finished_once(server, client, uid, calm)


def _wait_until_running(client: PicpikClient, uid: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while client.detail(uid)["Status"] != "Running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)  # into the step loop


def _oldest(server: Server, module: str) -> psutil.Process:
    """The oldest process of the server that runs `module`: the worker, not its warm spare."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = [
            (process.create_time(), process.pid, process)
            for process in psutil.Process(server.process.pid).children(recursive=True)
            if _runs(process, module)
        ]
        if found:
            return min(found)[2]
        time.sleep(0.05)
    raise AssertionError(f"no process runs {module}")


def _session(server: Server) -> list[psutil.Process]:
    """What is left of the processes that the server and its own ones started."""
    return [
        process for process in psutil.process_iter() if _session_of(process) == server.process.pid
    ]


def _session_of(process: psutil.Process) -> int | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None


def _runs(process: psutil.Process, module: str) -> bool:
    try:
        return module in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _assert_finished_once(
    server: Server, client: PicpikClient, uid: str, expected: list[Image.Image]
) -> None:
    """Finished, every image published exactly once, and the same as in a calm run (law 3)."""
    detail = client.wait(uid, timeout_s=PATIENCE_S)
    assert detail["Status"] == "Finished", detail
    assert len(set(detail["ImgList"])) == len(expected)
    store = open_store(Settings(data_dir=server.folder / "data"))
    record = store.get(uid)
    store.close()
    assert record is not None
    blobs = server.folder / "data" / "blobs"
    files = {str(path.relative_to(blobs)) for path in blobs.glob(f"out/*/{uid}/**/*.*")}
    assert files == {output.blob_key for output in record.outputs}, "an attempt left its images"
    assert {Path(file).parent.name for file in files} == {f"t{record.token}"}
    assert len(files) == len(expected)
    for url, other in zip(detail["ImgList"], expected, strict=True):
        difference = np.abs(np.asarray(client.download(url), int) - np.asarray(other, int))
        assert difference.max() <= 1
    legacy = client.call("ListGenerateTaskDetail", TaskUIDs=[uid])["TaskDetailList"][0]
    assert legacy["FinalPictureUrls"] == detail["ImgList"]
