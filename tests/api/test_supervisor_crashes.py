"""The supervisor when its child dies, hangs or never starts."""

from __future__ import annotations

import os
import signal
import time

from api.child import restart_delay_s
from api.tasks import TaskStatus
from tests.api.supervised import stand_ins


def test_a_killed_child_is_replaced_and_its_task_published_once(service):
    uid = service.put(num_images=2, pause_s=0.3)

    with service.supervisor():
        service.until(lambda: len(service.output_files()) == 1)  # in mid-task
        (child,) = stand_ins()
        os.kill(child, signal.SIGKILL)
        record = service.wait(uid)

    assert record.status is TaskStatus.SUCCEEDED
    assert (record.attempts, record.token) == (2, 2)
    assert service.output_files() == [each.blob_key for each in record.outputs]
    assert all("/t2/" in each.blob_key for each in record.outputs)


def test_the_spare_takes_over_and_is_replaced(make_service):
    service = make_service(warm_spare=True)
    uid = service.put(num_images=2, pause_s=0.3)

    with service.supervisor():
        service.wait(uid, TaskStatus.RUNNING)
        service.until(lambda: len(stand_ins()) == 2)
        working, spare = sorted(stand_ins())
        os.kill(working, signal.SIGKILL)
        service.wait(uid)
        service.until(lambda: len(stand_ins()) == 2)
        assert spare in stand_ins()

    image = service.blobs.get(service.record(uid).outputs[0].blob_key)
    assert f"by {spare}".encode() in image


def test_a_poison_task_ends_as_an_error_after_three_starts(service):
    uid = service.put("kill")

    with service.supervisor():
        record = service.wait(uid)

    assert (record.status, record.error_code) == (TaskStatus.FAILED, 1205)
    assert "worker lost" in record.error_text
    assert service.starts(uid) == record.attempts == 3
    assert service.output_files() == []


def test_the_neighbours_of_a_poison_task_finish(service):
    poison = service.put("kill", pause_s=0.2)
    neighbours = [service.put(num_images=2, pause_s=0.2) for _ in range(3)]

    with service.supervisor():
        records = [service.wait(uid) for uid in neighbours]
        assert service.wait(poison).status is TaskStatus.FAILED

    assert {record.status for record in records} == {TaskStatus.SUCCEEDED}
    assert {service.starts(uid) for uid in neighbours} == {2}  # one start shared with the poison
    assert service.starts(poison) == 3
    published = [each.blob_key for record in records for each in record.outputs]
    assert service.output_files() == sorted(published)


def test_a_hanging_child_is_killed_and_its_task_ends(make_service):
    service = make_service(child_silence_s=2.0, max_attempts=1)
    uid = service.put("hang")

    with service.supervisor():
        record = service.wait(uid)

    assert (record.status, record.attempts) == (TaskStatus.FAILED, 1)


def test_an_idle_child_may_be_silent(make_service):
    service = make_service(child_silence_s=2.0)

    with service.supervisor():
        service.wait(service.put())
        children = stand_ins()
        time.sleep(2.3)
        assert stand_ins() == children


def test_the_wait_for_a_next_start_is_bounded_however_often_it_failed():
    assert [restart_delay_s(failed) for failed in (0, 1, 2)] == [0.5, 1.0, 2.0]
    assert restart_delay_s(100_000) == 30.0


def test_a_child_that_never_starts_is_not_started_in_a_loop(service, caplog):
    uid = service.put()

    with service.supervisor(child_command=[*service.child_command, "never_ready"]):
        service.until(lambda: caplog.text.count("exit code 3") == 2)
        time.sleep(0.3)

    assert caplog.text.count("exit code 3") == 2
    assert "the next start is in 0.5 s" in caplog.text
    assert "the next start is in 1.0 s" in caplog.text
    assert service.record(uid).attempts == 0
