"""What a supervisor does with tasks that take too long, too much memory, or come to its end."""

from __future__ import annotations

import signal
import time

from api import supervisor as supervisor_module
from api.tasks import TaskStatus


def test_a_task_that_runs_too_long_is_stopped_and_says_so(make_service):
    service = make_service(run_limit_s=0.5)
    slow, neighbour = service.put(pause_s=60), service.put(pause_s=0.05, num_images=2)

    with service.supervisor():
        record = service.wait(slow)
        assert service.wait(neighbour).status is TaskStatus.SUCCEEDED

    assert (record.status, record.error_code) == (TaskStatus.FAILED, 1205)
    assert record.error_text == "stopped: it ran for 0.5 s"
    assert service.starts(slow) == 1


def test_a_child_that_does_not_stop_an_overdue_task_is_killed(make_service, monkeypatch):
    monkeypatch.setattr(supervisor_module, "STOP_GRACE_S", 0.3)
    service = make_service(run_limit_s=0.5, max_attempts=1)
    stuck = service.put("stuck")

    with service.supervisor():
        record = service.wait(stuck)
        assert service.wait(service.put()).status is TaskStatus.SUCCEEDED

    assert (record.status, record.attempts) == (TaskStatus.FAILED, 1)
    assert "worker lost" in record.error_text


def test_tasks_that_run_out_of_memory_together_run_alone_in_the_end(service):
    """A stand-in for a device on which only one of them fits at a time."""
    uids = [service.put("greedy", pause_s=0.1) for _ in range(4)]

    with service.supervisor():
        records = [service.wait(uid) for uid in uids]

    assert {record.status for record in records} == {TaskStatus.SUCCEEDED}
    assert {record.attempts for record in records} == {1}
    assert any(record.max_batch == 1 for record in records)
    assert max(service.starts(uid) for uid in uids) <= 4


def test_a_task_that_does_not_even_fit_alone_fails(service):
    uid = service.put("too_big")

    with service.supervisor():
        record = service.wait(uid)

    assert (record.status, record.error_text) == (TaskStatus.FAILED, "the device ran out of memory")


def test_a_worker_that_is_asked_to_end_finishes_what_it_may(make_service):
    service = make_service(drain_s=20)
    running = service.put(pause_s=1.0, num_images=2)
    with service.supervisor_process() as process:
        service.until(lambda: service.starts(running) == 1)
        process.send_signal(signal.SIGTERM)
        service.until(lambda: [each.state.draining for each in service.store.workers()] == [True])
        later = service.put()
        assert process.wait(20) == 0

    assert service.record(running).status is TaskStatus.SUCCEEDED
    assert service.record(later).attempts == 0
    assert service.store.workers() == []


def test_a_second_signal_ends_the_draining(make_service):
    service = make_service(drain_s=60)
    uid = service.put(pause_s=60)
    with service.supervisor_process() as process:
        service.until(lambda: service.starts(uid) == 1)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0

    assert (service.record(uid).status, service.record(uid).attempts) == (TaskStatus.QUEUED, 0)


def test_a_worker_says_what_it_has_loaded_and_does(service):
    uid = service.put(pause_s=60)
    with service.supervisor() as supervisor:
        service.until(lambda: [w.state.num_running for w in service.store.workers()] == [1])
        [worker] = service.store.workers()

    assert worker.state.owner == supervisor.owner
    assert (worker.state.device, worker.state.draining) == ("cpu", False)
    assert worker.state.loaded_models == ("PICPIK General",)
    assert service.record(uid).status is TaskStatus.QUEUED
