"""What supervisors with real children write down of themselves."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from api.instruments.endpoint import metrics_endpoint
from api.instruments.snapshot import (
    SnapshotFile,
    WorkerSnapshot,
    read_snapshots,
    snapshots_folder,
)
from api.instruments.worker import WorkerInstruments
from api.instruments.worker_endpoint import own_metrics
from api.messages import EngineReport
from api.settings import Settings
from api.tasks import Claimant, TaskStatus
from engine.counts import DeviceState, EngineCounts
from tests.api.instruments.snapshots import snapshot
from tests.api.supervised import Service, stand_ins

NONE = {status.value: 0 for status in TaskStatus if status.is_final}


def told(service: Service, holds: Callable[[WorkerSnapshot], bool]) -> WorkerSnapshot:
    """The only worker's numbers, once they are as wanted."""
    folder = snapshots_folder(service.settings.data_dir)
    service.until(lambda: any(map(holds, read_snapshots(folder))))
    (snapshot,) = read_snapshots(folder)
    return snapshot


def test_starts_ends_and_the_tasks_at_work(service):
    running = service.put(num_images=2, pause_s=1.5)
    done, failed = service.put(), service.put("fail", num_images=2)
    with service.supervisor() as supervisor:
        service.wait(done)
        service.wait(failed)
        seen = told(service, lambda s: sum(s.counts.ended.values()) == 2 and len(s.tasks) == 1)
        assert (seen.worker, seen.device, seen.pid) == (supervisor.owner, "cpu", os.getpid())
        assert seen.is_ready
        assert (seen.tasks[0].uid, seen.tasks[0].num_images) == (running, 2)
        assert (seen.counts.starts, seen.counts.reruns, seen.counts.crashes) == (3, 0, 0)
        assert seen.counts.ended == {**NONE, "succeeded": 1, "failed": 1}
    assert read_snapshots(snapshots_folder(service.settings.data_dir)) == []


def test_a_crash_and_the_start_after_it(service):
    uid = service.put(num_images=2, pause_s=0.3)
    with service.supervisor():
        service.until(lambda: len(service.output_files()) == 1)
        (child,) = stand_ins()
        os.kill(child, signal.SIGKILL)
        service.wait(uid)
        counts = told(service, lambda s: s.counts.ended != NONE).counts
    assert (counts.crashes, counts.starts, counts.reruns) == (1, 2, 1)
    assert counts.ended == {**NONE, "succeeded": 1}


def test_an_expired_lease_is_counted_by_who_sweeps_it(make_service):
    service = make_service(lease_s=0.6)
    uid = service.put()
    service.store.claim(Claimant("gone"), limit=1, lease_s=0.01)
    with service.supervisor():
        service.wait(uid)
        counts = told(service, lambda s: s.counts.ended != NONE).counts
    assert (counts.leases_expired, counts.reruns, counts.publishes_fenced) == (1, 1, 0)


def test_a_publish_without_the_lease_is_fenced_and_counted(service):
    uid = service.put(num_images=1, pause_s=0.6)
    with service.supervisor():
        service.wait(uid, TaskStatus.RUNNING)
        with service.store.database.write() as connection:
            connection.exec_driver_sql("update tasks set token = token + 1")
        counts = told(service, lambda s: s.counts.publishes_fenced > 0).counts
    assert counts.ended == NONE


def test_what_dead_children_counted_is_not_forgotten(tmp_path: Path):
    instruments = WorkerInstruments(Settings(data_dir=tmp_path), worker="w", device="cpu")
    instruments.heard(EngineReport(EngineCounts(steps=10), DeviceState(5, 9, ("m",))))
    instruments.heard(EngineReport(EngineCounts(steps=30), DeviceState(6, 9, ("m",))))
    assert instruments.snapshot([], is_ready=True).engine.steps == 30
    instruments.child_gone()
    dead = instruments.snapshot([], is_ready=False)
    assert (dead.engine.steps, dead.state) == (30, DeviceState())
    instruments.heard(EngineReport(EngineCounts(steps=4), DeviceState(1, 9, ())))
    alive = instruments.snapshot([], is_ready=True)
    assert alive.engine.steps == 34
    assert alive.steps_per_s > 0


def test_a_worker_by_itself_shows_its_own_numbers_alone(tmp_path: Path, caplog):
    settings = Settings(data_dir=tmp_path, metrics_port=0)
    for number, pid in enumerate((os.getpid(), os.getppid())):
        name = f"w{number}"
        file = SnapshotFile(snapshots_folder(tmp_path), name)
        file.write(snapshot(worker=name, pid=pid))
    with caplog.at_level("INFO"), own_metrics(settings):
        url = caplog.messages[-1].removeprefix("metrics at ")
        page = httpx.get(url, trust_env=False).text
    assert 'backdrop_steps_total{device="cpu",worker="w0"} 40.0' in page
    assert "w1" not in page
    assert "process_resident_memory_bytes" in page


def test_a_port_that_is_taken_is_named():
    registry = CollectorRegistry()
    with metrics_endpoint(registry, "127.0.0.1", 0) as url:
        port = int(url.split(":")[2].partition("/")[0])
        with pytest.raises(OSError, match=f"metrics_port {port}"):
            metrics_endpoint(registry, "127.0.0.1", port).__enter__()
