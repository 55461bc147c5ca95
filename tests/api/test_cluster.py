"""Workers of a Ray cluster without Ray; tests/e2e/test_ray_cluster.py has it with one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from api import cli
from api.cluster import ClusterFault, _check_shared_store, _share_and_room, _values_to_send
from api.cluster_worker import ClusterWorker, Order
from api.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def order(tmp_path: Path) -> Order:
    values = {"data_dir": tmp_path, "models": ROOT / "models.yaml", "warm_spare": False}
    return Order(values, num_gpus=0, num_cpus=1)


@pytest.fixture
def worker(order: Order) -> Iterator[ClusterWorker]:
    worker = ClusterWorker(order)
    yield worker
    worker.drain()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that ends with status 2."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    [line] = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("backdrop: ")
    ]
    return line


def test_a_worker_runs_a_supervisor_process_and_tells_of_it(worker: ClusterWorker, order: Order):
    health = worker.health()
    assert health.machine == socket.gethostname()
    assert health.device == "cpu"
    assert health.uptime_s >= 0
    process = psutil.Process(health.pid)
    assert "api.supervisor" in process.cmdline()
    assert process.ppid() == os.getpid()
    assert worker.order() == order

    worker.drain()
    assert not psutil.pid_exists(health.pid)


def test_its_compute_child_gets_the_threads_it_was_given_and_not_the_one_of_ray(
    order: Order, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    worker = ClusterWorker(Order({**order.settings, "cpu_threads": 3}, num_gpus=0, num_cpus=3))
    try:
        supervisor = psutil.Process(worker.health().pid)
        deadline = time.monotonic() + 30
        while not (
            computing := [
                child for child in supervisor.children() if "api.compute" in child.cmdline()
            ]
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert computing[0].environ()["OMP_NUM_THREADS"] == "3"
    finally:
        worker.drain()


def test_a_gpu_worker_uses_the_one_gpu_that_it_sees():
    assert Order({}, num_gpus=1, num_cpus=0).device == "cuda:0"
    assert Order({}, num_gpus=0, num_cpus=4).device == "cpu"


def test_a_worker_cannot_be_made_outside_the_thread_that_its_supervisor_follows(order: Order):
    caught: list[BaseException] = []

    def make() -> None:
        try:
            ClusterWorker(order)
        except AssertionError as exc:
            caught.append(exc)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert caught


@pytest.mark.parametrize("killed", ["supervisor", "worker"])
def test_a_worker_and_its_supervisor_end_with_each_other(tmp_path: Path, killed: str):
    program = (
        "import sys, time; from pathlib import Path; from api import cluster_worker as c\n"
        "c.RESTART_DELAY_S = 0.1\n"
        "values = {'data_dir': Path(sys.argv[1]), 'warm_spare': False}\n"
        "print(c.ClusterWorker(c.Order(values, 0, 1)).health().pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    with process.stdout as pipe:
        supervisor = psutil.Process(int(pipe.readline()))
    os.kill(supervisor.pid if killed == "supervisor" else process.pid, signal.SIGKILL)
    assert process.wait(timeout=20) == (1 if killed == "supervisor" else -signal.SIGKILL)
    deadline = time.monotonic() + 20
    while supervisor.is_running() and supervisor.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("machines", "num_cpus", "share", "room"),
    [
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0, "GPU": 1.0}], None, (1, 0), 3),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0}], 3, (0, 3), 3),
        ([{}, {"CPU": 4.0}, {"CPU": 8.0}], None, (0, 4), 3),
        ([{"CPU": 4.0}, {"CPU": 8.0}], 8, (0, 8), 1),
    ],
    ids=["a GPU each", "CPUs where asked for", "the smallest machine", "what does not fit"],
)
def test_workers_take_gpus_or_the_cores_of_the_smallest_machine(machines, num_cpus, share, room):
    found = _share_and_room(machines, num_cpus)
    assert found == ({"num_gpus": share[0], "num_cpus": share[1]}, room)


@pytest.mark.parametrize(("machines", "num_cpus"), [([], None), ([{"CPU": 4.0}], 5)])
def test_a_cluster_without_room_is_refused(machines, num_cpus):
    with pytest.raises(ClusterFault, match="no machine"):
        _share_and_room(machines, num_cpus)


def test_a_sqlite_file_serves_one_machine(tmp_path: Path):
    given = Settings(data_dir=tmp_path)
    _check_shared_store(given, {"a"})
    with pytest.raises(ClusterFault, match="BACKDROP_DATABASE_URL"):
        _check_shared_store(given, {"a", "b"})
    with pytest.raises(ClusterFault, match="data-dir"):
        _check_shared_store(Settings(), {"a"})


class AnyDatabase(Settings):
    database_url: SecretStr | None = None


def test_postgresql_serves_many_machines_and_a_sqlite_url_does_not():
    _check_shared_store(AnyDatabase(database_url=SecretStr("postgresql://u:p@h/d")), {"a", "b"})
    with pytest.raises(ClusterFault, match="BACKDROP_DATABASE_URL"):
        _check_shared_store(AnyDatabase(database_url=SecretStr("sqlite:////f")), {"a", "b"})


def test_workers_get_what_was_given_with_absolute_paths_and_no_keys(monkeypatch):
    monkeypatch.setenv("BACKDROP_LEASE_S", "7")
    settings = Settings(data_dir=Path("data"), keys=[SecretStr("a:b")], port=1)
    assert _values_to_send(settings) == {"data_dir": Path("data").absolute(), "lease_s": 7.0}


def test_a_cluster_that_does_not_answer_is_one_clear_line(capsys):
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    line = run(capsys, "cluster", "status", "--address", f"127.0.0.1:{port}")
    assert f"127.0.0.1:{port}" in line


def test_without_ray_the_command_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "backdrop[ray]" in run(capsys, "cluster", "up")


def test_ray_is_imported_only_for_its_commands():
    program = "import sys, api.cli, api.cluster_worker; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
