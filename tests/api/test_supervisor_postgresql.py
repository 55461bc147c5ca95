"""Supervisors whose task store is PostgreSQL: what else could go wrong there."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from api import claimer
from api import supervisor as supervisor_module
from api.errors import IllegalMove, StoreUnavailable
from api.tasks import Claimant, Lease, TaskStatus
from tests.api.postgres import OwnServer, Postgres
from tests.api.store_contract.stored import output
from tests.api.supervised import Service

MakeService = Callable[..., Service]


@pytest.fixture
def make_pg_service(make_service: MakeService, postgres_url: str) -> MakeService:
    def make(**changes: Any) -> Service:
        return make_service(database_url=SecretStr(postgres_url), **changes)

    return make


def test_a_frozen_supervisor_cannot_publish_past_its_lease(make_pg_service):
    service = make_pg_service(lease_s=0.6)
    uid = service.put(pause_s=0.5)
    with service.supervisor_process() as frozen:
        service.wait(uid, TaskStatus.RUNNING)
        frozen.send_signal(signal.SIGSTOP)
        service.until(lambda: " T " in Path(f"/proc/{frozen.pid}/stat").read_text())
        service.until(lambda: service.store.sweep() == [uid])
        (record,) = service.store.claim(Claimant("w2"), limit=1, lease_s=60)
        service.store.finish(Lease(uid, "w2", record.token), [output(uid, token=record.token)])
        published = service.record(uid)

        frozen.send_signal(signal.SIGCONT)
        service.wait(service.put())  # it works on, with the old result behind it

        assert service.record(uid) == published


def test_news_of_tasks_and_cancels_reach_a_worker_without_polling(make_pg_service, monkeypatch):
    monkeypatch.setattr(claimer, "POLL_S", 60.0)
    monkeypatch.setattr(supervisor_module, "MAX_BEAT_PERIOD_S", 60.0)
    service = make_pg_service(lease_s=600)

    with service.supervisor():
        service.wait(service.put())
        time.sleep(0.3)  # it has looked and found nothing
        uid = service.put(pause_s=60)
        service.until(lambda: service.starts(uid) == 1, timeout_s=10)
        canceled_at = time.monotonic()
        service.store.cancel(uid, tenant="alice")
        assert service.wait(uid, timeout_s=10).status is TaskStatus.CANCELED
        assert time.monotonic() - canceled_at < 3


def test_nothing_is_lost_while_the_server_is_killed_and_comes_back(
    make_service: MakeService, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(postgres, OwnServer):
        pytest.skip("the server is not ours to kill")
    monkeypatch.setattr(supervisor_module, "RETRY_S", 0.1)
    monkeypatch.setattr(claimer, "RETRY_S", 0.1)
    service = make_service(database_url=SecretStr(postgres.new_database()), lease_s=3.0)
    accepted: list[str] = []
    stop = threading.Event()

    def submit() -> None:
        while not stop.is_set():
            try:
                accepted.append(service.put(pause_s=0.05))
            except StoreUnavailable:
                time.sleep(0.05)
            except IllegalMove:
                raise AssertionError("a new uid cannot be taken") from None
            time.sleep(0.01)

    with service.supervisor(), service.supervisor():
        thread = threading.Thread(target=submit)
        thread.start()
        for _ in range(2):
            before = len(accepted)
            service.until(lambda before=before: len(accepted) > before + 10)
            postgres.kill()
            time.sleep(0.3)
            postgres.start()
        service.until(lambda: len(accepted) > before + 20)
        stop.set()
        thread.join()
        records = [patiently(service, uid) for uid in accepted]

    assert {record.status for record in records} == {TaskStatus.SUCCEEDED}
    published = [each.blob_key for record in records for each in record.outputs]
    assert len(published) == len(set(published)) == len(accepted)
    assert set(published) <= set(service.output_files())


def patiently(service: Service, uid: str) -> Any:
    """The record of the ended task, from a server that may only just be back."""
    for _ in itertools.count():
        try:
            return service.wait(uid)
        except StoreUnavailable:
            time.sleep(0.05)
    raise AssertionError
