"""Leases: silence, heartbeats and the fence."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from api.errors import LeaseLost
from api.store import SqlTaskStore
from api.tasks import Lease, TaskStatus
from tests.api.store_contract.stored import (
    claim_one,
    claimed,
    lease_of,
    new_task,
    output,
    read,
    try_claim,
)


class LeaseContract:
    """A task belongs to the owner of its last lease, and to it only while it is heard of."""

    def test_a_task_whose_worker_is_silent_is_started_three_times(
        self, store: SqlTaskStore
    ) -> None:
        store.put(new_task("poison"))
        starts = 0
        while try_claim(store, lease_s=0.0):
            starts += 1
            time.sleep(0.005)
            assert store.sweep() == ["poison"]

        record = read(store, "poison")
        assert starts == 3
        assert record.status is TaskStatus.FAILED
        assert record.error_code == 1205
        assert "worker lost" in record.error_text

    def test_a_stopped_worker_cannot_publish_past_its_lease(self, store: SqlTaskStore) -> None:
        uid, old = claimed(store, lease_s=0.0)
        time.sleep(0.005)
        store.sweep()
        record = claim_one(store, "w2")

        for publish in _publications(old):
            with pytest.raises(LeaseLost):
                publish(store)
        store.finish(lease_of(record, "w2"), [output(uid, token=2)])
        for publish in _publications(old):
            with pytest.raises(LeaseLost):
                publish(store)

        assert [each.blob_key for each in read(store, uid).outputs] == [
            f"out/20260101/{uid}/t2/0.png"
        ]

    def test_a_swept_task_comes_back_alone(self, store: SqlTaskStore) -> None:
        uid, _ = claimed(store, lease_s=0.0)
        time.sleep(0.005)

        assert store.sweep() == [uid]
        assert store.sweep() == []
        record = read(store, uid)
        assert (record.status, record.solo, record.attempts) == (TaskStatus.QUEUED, True, 1)

    def test_a_lease_is_fenced_by_owner_and_token(self, store: SqlTaskStore) -> None:
        uid, lease = claimed(store)

        for wrong in (Lease(uid, "w2", lease.token), Lease(uid, lease.owner, lease.token + 1)):
            with pytest.raises(LeaseLost):
                store.finish(wrong, [output(uid)])
            assert store.beat([wrong], lease_s=60, progress={}).lost == {uid}

    def test_a_heartbeat_keeps_a_task_and_stores_its_progress(self, store: SqlTaskStore) -> None:
        uid, lease = claimed(store, lease_s=0.05)
        other, other_lease = claimed(store, lease_s=60)

        answer = store.beat([lease, other_lease], lease_s=60, progress={uid: (0.5, "denoising")})
        time.sleep(0.06)

        assert answer.lost == answer.cancel_requested == frozenset()
        assert store.sweep() == []
        record = read(store, uid)
        assert (record.progress, record.stage) == (0.5, "denoising")
        assert (read(store, other).progress, read(store, other).stage) == (0.0, "")

    def test_a_heartbeat_tells_of_lost_leases_and_of_cancels(self, store: SqlTaskStore) -> None:
        lost, lost_lease = claimed(store, lease_s=0.0)
        time.sleep(0.005)
        store.sweep()
        claim_one(store, "w2")
        canceled, canceled_lease = claimed(store)
        store.cancel(canceled, tenant="alice")

        answer = store.beat(
            [lost_lease, canceled_lease], lease_s=60, progress={lost: (0.9, "denoising")}
        )

        assert answer.lost == {lost}
        assert answer.cancel_requested == {canceled}
        assert read(store, lost).progress == 0.0

    def test_a_heartbeat_without_leases_is_quiet(self, store: SqlTaskStore) -> None:
        answer = store.beat([], lease_s=60, progress={})

        assert answer.lost == answer.cancel_requested == frozenset()


def _publications(lease: Lease) -> list[Callable[[SqlTaskStore], object]]:
    """Every way in which an owner could still change a task."""
    return [
        lambda store: store.finish(lease, [output(lease.uid)]),
        lambda store: store.fail(lease, error_code=1205, error_text="late"),
        lambda store: store.end_canceled(lease),
        lambda store: store.release(lease, crashed=True),
        lambda store: store.release(lease, crashed=False),
    ]
