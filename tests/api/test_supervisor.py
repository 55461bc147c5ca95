"""The supervisor at work: tasks are run, published, canceled and shared."""

from __future__ import annotations

import hashlib

from api import supervisor as supervisor_module
from api.tasks import TaskStatus
from tests.api.stand_in_child import preview


def test_a_finished_task_is_published_once_with_all_its_images(service):
    uid = service.put(num_images=3)

    with service.supervisor():
        record = service.wait(uid)

    assert record.status is TaskStatus.SUCCEEDED
    assert [each.image_index for each in record.outputs] == [0, 1, 2]
    assert [each.seed for each in record.outputs] == [7, 8, 9]
    for each in record.outputs:
        data = service.blobs.get(each.blob_key)
        assert hashlib.sha256(data).hexdigest() == each.sha256
        assert len(data) == each.size_bytes
        assert data.startswith(f"PNG of {uid} {each.image_index}".encode())
        assert (each.mime, each.width_px, each.height_px) == ("image/png", 8, 6)
    assert service.output_files() == [each.blob_key for each in record.outputs]
    assert service.starts(uid) == 1


def test_many_tasks_are_each_run_once(service):
    uids = [service.put() for _ in range(30)]

    with service.supervisor():
        records = [service.wait(uid) for uid in uids]

    assert {record.status for record in records} == {TaskStatus.SUCCEEDED}
    assert {service.starts(uid) for uid in uids} == {1}
    assert len(service.output_files()) == 30


def test_a_failed_task_keeps_its_good_images(service):
    uid = service.put("fail", num_images=2)

    with service.supervisor():
        record = service.wait(uid)

    assert record.status is TaskStatus.FAILED
    assert (record.error_code, record.error_text) == (1205, "image 2 of 2: not finite")
    assert [each.image_index for each in record.outputs] == [0]
    assert service.starts(uid) == 1


def test_an_undecodable_image_is_named(service):
    uid = service.put("bad_image")

    with service.supervisor():
        assert service.wait(uid).error_code == 1204


def test_a_success_with_an_image_missing_is_a_failure(service):
    uid = service.put("short", num_images=2)

    with service.supervisor():
        record = service.wait(uid)

    assert (record.status, record.error_code) == (TaskStatus.FAILED, 1205)
    assert record.error_text == "only 1 of 2 images were made"


def test_a_missing_input_fails_its_task_alone(service):
    lost, found = service.put(), service.put()
    service.blobs.delete([service.record(lost).inputs["foreground"]])

    with service.supervisor():
        assert service.wait(found).status is TaskStatus.SUCCEEDED
        record = service.wait(lost)

    assert (record.status, record.error_code) == (TaskStatus.FAILED, 1204)
    assert service.starts(lost) == 0


def test_progress_is_stored_while_a_task_runs(make_service):
    service = make_service(lease_s=0.6)
    uid = service.put(num_images=4, pause_s=0.4)

    with service.supervisor():
        service.until(lambda: 0.2 < service.record(uid).progress < 1)
        assert service.record(uid).stage == "denoising"
        assert service.wait(uid).status is TaskStatus.SUCCEEDED


def test_previews_are_stored_while_a_task_runs_and_gone_at_its_end(make_service):
    service = make_service(lease_s=0.6)
    uid = service.put(num_images=2, pause_s=1.0, show=True)
    unasked = service.put(pause_s=1.0)

    def looks(of: str = uid) -> dict[int, bytes]:
        return service.store.previews(of, tenant="alice")

    with service.supervisor():
        service.until(lambda: looks() == {0: preview(uid, 0)})
        service.until(lambda: looks() == {index: preview(uid, index) for index in (0, 1)})
        assert looks(unasked) == {}
        assert service.wait(uid).status is TaskStatus.SUCCEEDED

    assert looks() == {}
    assert not [key for key in service.blob_files() if "preview" in key]


def test_a_long_task_keeps_its_lease(make_service):
    service = make_service(lease_s=0.6)
    uid = service.put(pause_s=2.0)

    with service.supervisor():
        record = service.wait(uid)

    assert (record.status, record.token) == (TaskStatus.SUCCEEDED, 1)


def test_a_queued_task_is_canceled_and_never_started(make_service):
    service = make_service(max_tasks_per_worker=1)
    running, ahead, queued = service.put(pause_s=1.0), service.put(pause_s=1.0), service.put()

    with service.supervisor():
        service.wait(running, TaskStatus.RUNNING)
        service.wait(ahead, TaskStatus.RUNNING)
        assert service.store.cancel(queued, tenant="alice") is TaskStatus.CANCELED
        service.wait(running)

    assert service.record(queued).status is TaskStatus.CANCELED
    assert service.starts(queued) == 0


def test_a_running_task_is_canceled_and_its_images_deleted(service):
    canceled = service.put(num_images=3, pause_s=0.4)
    neighbour = service.put(pause_s=1.0)

    with service.supervisor():
        service.until(lambda: len(service.output_files()) == 1)
        assert service.store.cancel(canceled, tenant="alice") is TaskStatus.RUNNING
        record = service.wait(canceled, timeout_s=3)
        assert service.wait(neighbour).status is TaskStatus.SUCCEEDED

    assert (record.status, record.error_code) == (TaskStatus.CANCELED, 1206)
    assert record.outputs == ()
    assert service.output_files() == [service.record(neighbour).outputs[0].blob_key]


def test_two_supervisors_share_the_work(service):
    uids = [service.put(pause_s=0.05) for _ in range(20)]

    with service.supervisor(), service.supervisor():
        records = [service.wait(uid) for uid in uids]

    assert {record.status for record in records} == {TaskStatus.SUCCEEDED}
    assert {service.starts(uid) for uid in uids} == {1}


def test_expired_images_are_deleted(make_service, monkeypatch):
    monkeypatch.setattr(supervisor_module, "PURGE_PERIOD_S", 0.1)
    service = make_service(images_keep_s=0.2)
    uid = service.put()

    with service.supervisor():
        assert service.wait(uid).status is TaskStatus.SUCCEEDED
        service.until(lambda: not service.record(uid).outputs)
        service.until(lambda: not service.blob_files())

    assert service.record(uid).status is TaskStatus.SUCCEEDED


def test_big_messages_both_ways_do_not_block_each_other(service):
    """More than a socket's buffer in either direction, at the same time."""
    uids = []
    for _ in range(6):
        uid = service.put(num_images=2)
        service.blobs.put(service.record(uid).inputs["foreground"], b"x" * 8_000_000)
        uids.append(uid)

    with service.supervisor():
        assert {service.wait(uid).status for uid in uids} == {TaskStatus.SUCCEEDED}
