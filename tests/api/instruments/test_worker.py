"""What supervisors with real children write down of themselves."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from api.instruments.snapshot import WorkerSnapshot, read_snapshots, snapshots_folder
from api.instruments.worker import WorkerInstruments
from api.messages import EngineReport
from api.settings import Settings
from api.tasks import TaskStatus
from engine.counts import DeviceState, EngineCounts
from tests.api.supervised import Service, stand_ins


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
        assert seen.counts.ended == {"succeeded": 1, "failed": 1}
    assert read_snapshots(snapshots_folder(service.settings.data_dir)) == []


def test_a_crash_and_the_start_after_it(service):
    uid = service.put(num_images=2, pause_s=0.3)
    with service.supervisor():
        service.until(lambda: len(service.output_files()) == 1)
        (child,) = stand_ins()
        os.kill(child, signal.SIGKILL)
        service.wait(uid)
        counts = told(service, lambda s: s.counts.ended != {}).counts
    assert (counts.crashes, counts.starts, counts.reruns) == (1, 2, 1)
    assert counts.ended == {"succeeded": 1}


def test_an_expired_lease_is_counted_by_who_sweeps_it(make_service):
    service = make_service(lease_s=0.6)
    uid = service.put()
    service.store.claim(owner="gone", limit=1, lease_s=0.01, solo_allowed=True)
    with service.supervisor():
        service.wait(uid)
        counts = told(service, lambda s: s.counts.ended != {}).counts
    assert (counts.leases_expired, counts.reruns, counts.publishes_fenced) == (1, 1, 0)


def test_a_publish_without_the_lease_is_fenced_and_counted(service):
    uid = service.put(num_images=1, pause_s=0.6)
    with service.supervisor():
        service.wait(uid, TaskStatus.RUNNING)
        with service.store.database.write() as connection:
            connection.exec_driver_sql("update tasks set token = token + 1")
        counts = told(service, lambda s: s.counts.publishes_fenced > 0).counts
    assert counts.ended == {}


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
