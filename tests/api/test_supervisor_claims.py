"""Which tasks a supervisor claims, and when."""

from __future__ import annotations

import logging
import time

from api import claimer
from api import supervisor as supervisor_module
from api.store import open_store
from api.tasks import TaskStatus


def started(service, uids):
    return [uid for uid in uids if service.starts(uid)]


def test_one_task_is_claimed_ahead_of_those_that_run(make_service):
    service = make_service(max_tasks_per_worker=2)
    uids = [service.put(pause_s=30) for _ in range(5)]

    with service.supervisor():
        service.until(lambda: len(started(service, uids)) == 3)
        time.sleep(0.5)
        assert started(service, uids) == uids[:3]
        assert service.record(uids[3]).status is TaskStatus.QUEUED


def test_the_next_task_is_claimed_while_a_full_batch_runs(make_service):
    service = make_service()
    uids = [service.put(num_images=16, pause_s=30) for _ in range(3)]

    with service.supervisor():
        service.until(lambda: len(started(service, uids)) == 2)
        time.sleep(0.5)
        assert started(service, uids) == uids[:2]


def test_tasks_that_are_being_finished_make_room_for_others_but_not_without_bound(make_service):
    service = make_service(max_tasks_per_worker=2)
    uids = [service.put(finish_s=30) for _ in range(7)]

    with service.supervisor():
        service.until(lambda: len(started(service, uids)) == 5)
        time.sleep(0.5)
        assert started(service, uids) == uids[:5]


def test_an_idle_worker_hears_of_a_task_without_polling(service, monkeypatch):
    monkeypatch.setattr(claimer, "POLL_S", 60.0)
    other = open_store(service.settings)
    first = service.put()

    with service.supervisor():
        service.wait(first)
        time.sleep(0.3)  # it has looked and found nothing
        service.store, kept = other, service.store
        uid = service.put()
        service.store = kept
        assert service.wait(uid, timeout_s=10).status is TaskStatus.SUCCEEDED
    other.close()


def test_a_worker_hears_of_a_cancel_without_polling(make_service, monkeypatch):
    monkeypatch.setattr(supervisor_module, "MAX_BEAT_PERIOD_S", 60.0)
    service = make_service(lease_s=600)
    uid = service.put(pause_s=60)

    with service.supervisor():
        service.until(lambda: service.starts(uid) == 1)
        service.store.cancel(uid, tenant="alice")
        assert service.wait(uid, timeout_s=10).status is TaskStatus.CANCELED


def test_a_new_task_goes_to_the_idle_worker(service, monkeypatch, caplog):
    monkeypatch.setattr(claimer, "POLL_S", 60.0)
    monkeypatch.setattr(claimer, "BUSY_DELAY_S", 30.0)
    caplog.set_level(logging.INFO)

    with service.supervisor(), service.supervisor():
        service.until(lambda: caplog.text.count("is ready on") == 2)
        time.sleep(0.3)
        long = service.put(pause_s=60)
        service.until(lambda: service.starts(long) == 1)
        for _ in range(4):  # one alone might go there by chance
            assert service.wait(service.put(), timeout_s=10).status is TaskStatus.SUCCEEDED
