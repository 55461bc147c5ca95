"""`backdrop cluster` on a Ray cluster of several nodes, each with processes of its own."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.e2e.client import PicpikClient, as_png
from tests.e2e.conftest import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATIENCE_S = 240
MACHINES_ENVIRONMENT = {"BACKDROP_CHILD_SILENCE_S": "0"}  # out of range
# Said, since Ray decides by what it finds in the home folder.
AUTHENTICATION = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
RUNS = re.compile(r"(worker-\d+)  runs on \S+ cpu, process (\d+), for \d+ s")


class Node:
    """`ray start` in the foreground: what a machine of the cluster runs.

    Addresses other than 127.0.0.1, which Ray would replace by one that other machines reach.
    """

    def __init__(self, folder: str, ip: str, *options: str) -> None:
        program = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", program, "start", f"--node-ip-address={ip}"),
                *("--disable-usage-stats", "--block", *options),
            ],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"RAY_TMPDIR": folder} | AUTHENTICATION | MACHINES_ENVIRONMENT,
        )
        assert self._process.stdout is not None
        self.is_up = any("Ray runtime started" in line for line in self._process.stdout)

    def runs(self, pid: int) -> bool:
        return pid in {process.pid for process in self._tree()}

    def kill(self) -> None:
        """A power cut: nothing of it gets a chance to say goodbye."""
        tree = self._tree()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in tree:
                if process.is_running():
                    process.send_signal(number)
        psutil.wait_procs(tree, timeout=10)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _tree(self) -> list[psutil.Process]:
        try:
            top = psutil.Process(self._process.pid)
            return [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class Ray:
    """A head without room for workers, and machines of one core each."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        # Not below pytest's folder: the paths of Unix sockets would be too long.
        self._folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
        )
        with socket.create_server(("127.0.0.2", 0)) as free:
            self.address = f"127.0.0.2:{free.getsockname()[1]}"
        self.nodes: list[Node] = []
        port = self.address.split(":")[1]
        head = ["--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false"]
        self._start("127.0.0.2", *head)

    def add_machine(self) -> None:
        self._start(f"127.0.0.{len(self.nodes) + 2}", f"--address={self.address}", "--num-cpus=1")

    def _start(self, *arguments: str) -> None:
        for _ in range(3):  # on a busy machine Ray's own limit of 30 s may be too short
            node = Node(self._folder, *arguments)
            self._stack.callback(node.kill)
            if node.is_up:
                self.nodes.append(node)
                return
        raise AssertionError(f"ray start {arguments} did not get up")


def until(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.2)
    return value


@pytest.fixture
def ray_cluster() -> Iterator[Ray]:
    with ExitStack() as stack:
        yield Ray(stack)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, command="api", BACKDROP_LEASE_S="5")
    yield server
    server.stop()


@pytest.fixture
def backdrop(ray_cluster: Ray, api: Server) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "backdrop", "cluster", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=os.environ
            | {
                "RAY_ADDRESS": ray_cluster.address,
                "BACKDROP_DATA_DIR": str(api.folder / "data"),
                "BACKDROP_LEASE_S": "5",
                "BACKDROP_WARM_SPARE": "false",
            }
            | AUTHENTICATION
            | environment,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def client(api: Server) -> Iterator[PicpikClient]:
    client = api.client("alice")
    with client.http:
        yield client


def test_a_task_survives_the_loss_of_its_machine_and_ray_moves_the_worker(
    ray_cluster: Ray, api: Server, client: PicpikClient, backdrop: Any, examples: Path
) -> None:
    for _ in range(2):
        ray_cluster.add_machine()
    broken = backdrop("up", "--workers", "2")
    assert broken.returncode == 2
    assert "child_silence_s" in broken.stderr
    assert backdrop("up", "--workers", "2", BACKDROP_CHILD_SILENCE_S="600").returncode == 0
    workers = until(lambda: both_run(backdrop("status")))
    refused = backdrop("up")
    assert refused.returncode == 2
    assert "workers run already" in refused.stderr

    with Image.open(examples / "coffee-cup.png") as picture:
        cup = as_png(picture.resize((96, 64), Image.Resampling.BICUBIC))
    fields = {
        "MainModel": {"ModelCode": "PICPIK General", "InferenceParams": {"Steps": 30}},
        "PositivePrompts": ["blue sky"],
        "TransparentForeground": {"ImageIndex": 0},
        "Seed": 21,
        "BatchSize": 2,
    }
    uid = client.submit([cup], **fields)
    first_owner = until(lambda: owner_in_mid_task(api, uid))
    assert first_owner in workers.values()
    lost = next(node for node in ray_cluster.nodes if node.runs(first_owner))
    lost.kill()

    detail = client.wait(uid, timeout_s=PATIENCE_S)
    assert detail["Status"] == "Finished", detail
    images = [client.download(url) for url in detail["ImgList"]]
    assert starts_and_owner(api, uid)[0] == 2
    calm = client.generate([cup], **fields)[1]
    for image, other in zip(images, calm, strict=True):
        assert np.abs(np.asarray(image, int) - np.asarray(other, int)).max() <= 1

    assert backdrop("status").returncode == 1
    ray_cluster.add_machine()
    moved = until(lambda: both_run(backdrop("status")))
    assert len(set(workers.values()) & set(moved.values())) == 1
    (new_pid,) = set(moved.values()) - set(workers.values())
    assert ray_cluster.nodes[-1].runs(new_pid)

    os.kill(new_pid, signal.SIGKILL)
    again = until(lambda: both_run(backdrop("status"), without=new_pid))
    assert len(set(moved.values()) & set(again.values())) == 1
    moved = again

    # One is drained, one comes back, all end, and their processes with them.
    assert backdrop("scale", "1").returncode == 0
    assert set(RUNS.findall(backdrop("status").stdout)) < {
        (name, str(pid)) for name, pid in moved.items()
    }
    assert backdrop("scale", "2").returncode == 0
    workers = until(lambda: both_run(backdrop("status")))
    assert backdrop("down").stdout == "workers ended: 2\n"
    assert not any(psutil.pid_exists(pid) for pid in workers.values())
    empty = backdrop("status")
    assert (empty.returncode, empty.stdout) == (1, "no workers\n")


def both_run(
    status: subprocess.CompletedProcess[str], *, without: int | None = None
) -> dict[str, int] | None:
    """Process ids of both supervisors by worker, once both run and none has the pid `without`."""
    workers = {name: int(pid) for name, pid in RUNS.findall(status.stdout)}
    assert (status.returncode == 0) == (len(workers) == status.stdout.count("\n")), status
    return workers if len(workers) == 2 and without not in workers.values() else None


def starts_and_owner(api: Server, uid: str) -> tuple[int, str | None, float]:
    database = sqlite3.connect(api.folder / "data" / "backdrop.sqlite3")
    try:
        return database.execute(
            "select attempts, owner, progress from tasks where uid = ?", (uid,)
        ).fetchone()
    finally:
        database.close()


def owner_in_mid_task(api: Server, uid: str) -> int | None:
    """The supervisor's process id, once some steps of the task are done."""
    _, owner, progress = starts_and_owner(api, uid)
    assert progress < 0.9, "too quick to be hit in the middle"
    return int(owner.split(":")[1]) if owner and progress > 0.05 else None
