"""The supervisor on a full disk, and with a store that is away."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import update

from api import claimer
from api import supervisor as supervisor_module
from api.blobs import BlobUnavailable, DiskFull, LocalBlobs
from api.errors import StoreUnavailable
from api.schema import tasks
from api.store import SqlTaskStore
from api.tasks import TaskRecord, TaskStatus
from tests.api.supervised import stand_ins


class FailsOnce(LocalBlobs):
    """A disk that does not take the first image."""

    error: Exception
    has_failed = False

    def put(self, key: str, data: bytes) -> None:
        if key.startswith("out/") and not self.has_failed:
            self.has_failed = True
            raise self.error
        super().put(key, data)


@pytest.mark.parametrize("error", [DiskFull("no room"), BlobUnavailable("Input/output error")])
def test_a_fault_of_the_disk_delays_a_task_and_costs_no_start(service, monkeypatch, error):
    monkeypatch.setattr(FailsOnce, "error", error, raising=False)
    monkeypatch.setattr(supervisor_module, "STORAGE_DELAY_S", 0.3)
    uid = service.put(num_images=2, pause_s=0.05)

    with service.supervisor(blobs=FailsOnce(service.settings.data_dir / "blobs")):
        record = service.wait(uid)

    assert (record.status, record.attempts, record.solo) == (TaskStatus.SUCCEEDED, 1, False)
    assert service.starts(uid) == 2


def test_nothing_is_started_without_room_for_its_result(service):
    class Full(LocalBlobs):
        def free_bytes(self) -> int:
            return 1000

    uid = service.put()
    with service.supervisor(blobs=Full(service.settings.data_dir / "blobs")):
        service.until(lambda: len(stand_ins()) == 1)
        time.sleep(0.5)

    assert service.record(uid).attempts == 0


def test_the_images_of_a_lost_lease_go_also_when_the_store_is_away(service, monkeypatch):
    monkeypatch.setattr(supervisor_module, "RETRY_S", 0.05)
    failures = []

    class AwayForOneLook(SqlTaskStore):
        def get(self, uid: str) -> TaskRecord | None:
            if not failures:
                failures.append(uid)
                raise StoreUnavailable("database is locked")
            return super().get(uid)

    uid = service.put(num_images=3, pause_s=0.5)
    with service.supervisor(store=AwayForOneLook(service.store.database)):
        service.until(lambda: bool(service.output_files()))
        with service.store.database.write() as connection:
            theirs = {"owner": "another", "lease_until": time.time() + 60}
            connection.execute(update(tasks).values(**theirs))
        service.until(lambda: failures == [uid] and not service.output_files())

    assert service.record(uid).status is TaskStatus.RUNNING
    assert not service.output_files()


def test_a_store_that_is_away_for_a_moment_costs_nothing(service, monkeypatch):
    monkeypatch.setattr(supervisor_module, "RETRY_S", 0.05)
    monkeypatch.setattr(claimer, "RETRY_S", 0.05)
    failures = {"claim": 2, "finish": 2, "beat": 1, "sweep": 1, "purge": 1}

    class Flaky(SqlTaskStore):
        """Each of these methods fails at first, as on a locked database."""

        def __getattribute__(self, name: str) -> Any:
            if failures.get(name, 0):
                failures[name] -= 1
                raise StoreUnavailable(f"{name}: database is locked")
            return super().__getattribute__(name)

    uid = service.put(num_images=2)
    with service.supervisor(store=Flaky(service.store.database)):
        record = service.wait(uid)

    assert (record.status, record.attempts) == (TaskStatus.SUCCEEDED, 1)
    assert failures["finish"] == 0
