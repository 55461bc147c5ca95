"""Ends of tasks: publishing, failing, giving back, canceling, and the moves that are not."""

from __future__ import annotations

import itertools
import time

import pytest

from api.errors import IllegalMove, LeaseLost
from api.store import SqlTaskStore
from api.tasks import LEGAL_MOVES, Lease, TaskStatus
from tests.api.store_contract.stored import (
    MakeStore,
    claim_one,
    claimed,
    in_state,
    lease_of,
    new_task,
    output,
    read,
    try_claim,
)


class EndingContract:
    """A task ends once, with all that belongs to its end."""

    def test_finishing_publishes_outputs_and_end_together(self, store: SqlTaskStore) -> None:
        uid, lease = claimed(store, num_images=2)
        outputs = (output(uid, 0), output(uid, 1))

        store.finish(lease, outputs)

        record = read(store, uid)
        assert record.status is TaskStatus.SUCCEEDED
        assert record.outputs == outputs
        assert record.progress == 1.0
        assert record.finished_at is not None
        assert record.images_expire_at == pytest.approx(record.finished_at + 24 * 3600, abs=1)

    @pytest.mark.parametrize("indexes", [[], [0], [0, 0], [1, 2], [0, 1, 2]])
    def test_a_task_without_all_its_images_is_not_finished(
        self, store: SqlTaskStore, indexes: list[int]
    ) -> None:
        uid, lease = claimed(store, num_images=2)

        with pytest.raises(IllegalMove):
            store.finish(lease, [output(uid, index) for index in indexes])

        record = read(store, uid)
        assert record.status is TaskStatus.RUNNING
        assert record.outputs == ()

    def test_a_failed_task_keeps_the_images_that_succeeded(self, store: SqlTaskStore) -> None:
        uid, lease = claimed(store, num_images=2)

        store.fail(lease, error_code=1205, error_text="image 1 of 2: bad", outputs=[output(uid, 1)])

        record = read(store, uid)
        assert record.status is TaskStatus.FAILED
        assert (record.error_code, record.error_text) == (1205, "image 1 of 2: bad")
        assert record.outputs == (output(uid, 1),)

    def test_a_task_given_back_in_order_keeps_its_starts(self, store: SqlTaskStore) -> None:
        uid, lease = claimed(store)
        for _ in range(5):
            assert store.release(lease, crashed=False) is TaskStatus.QUEUED
            record = claim_one(store)
            lease = lease_of(record)

        assert record.uid == uid
        assert (record.attempts, record.token, record.solo) == (1, 6, False)

    def test_a_crashing_task_fails_after_three_starts(self, store: SqlTaskStore) -> None:
        uid, lease = claimed(store)

        assert store.release(lease, crashed=True) is TaskStatus.QUEUED
        assert store.release(lease_of(claim_one(store)), crashed=True) is TaskStatus.QUEUED
        assert store.release(lease_of(claim_one(store)), crashed=True) is TaskStatus.FAILED

        record = read(store, uid)
        assert (record.attempts, record.error_code) == (3, 1205)
        assert "worker lost" in record.error_text
        assert try_claim(store) is None

    def test_a_queued_task_is_canceled_at_once(self, store: SqlTaskStore) -> None:
        store.put(new_task("a"))

        assert store.cancel("a", tenant="alice") is TaskStatus.CANCELED
        assert try_claim(store) is None
        assert (read(store, "a").status, read(store, "a").error_code) == (TaskStatus.CANCELED, 1206)

    def test_a_running_task_is_canceled_by_its_owner(self, store: SqlTaskStore) -> None:
        uid, lease = claimed(store)

        assert store.cancel(uid, tenant="alice") is TaskStatus.RUNNING
        assert read(store, uid).cancel_requested
        store.end_canceled(lease)

        assert (read(store, uid).status, read(store, uid).error_code) == (TaskStatus.CANCELED, 1206)

    def test_a_canceled_task_is_not_started_again(self, store: SqlTaskStore) -> None:
        uid, lease = claimed(store)
        store.cancel(uid, tenant="alice")

        assert store.release(lease, crashed=True) is TaskStatus.CANCELED
        assert try_claim(store) is None

    def test_a_canceled_task_whose_worker_died_is_swept_into_canceled(
        self, store: SqlTaskStore
    ) -> None:
        uid, _ = claimed(store, lease_s=0.0)
        store.cancel(uid, tenant="alice")
        time.sleep(0.005)

        assert store.sweep() == [uid]
        assert (read(store, uid).status, read(store, uid).error_code) == (TaskStatus.CANCELED, 1206)

    @pytest.mark.parametrize(
        ("source", "target"),
        [
            (source, target)
            for source, target in itertools.product(TaskStatus, TaskStatus)
            if target not in LEGAL_MOVES[source]
        ],
    )
    def test_an_illegal_move_changes_nothing(
        self, make_store: MakeStore, source: TaskStatus, target: TaskStatus
    ) -> None:
        store = make_store(queue_keep_s=0.02 if source is TaskStatus.EXPIRED else None)
        uid, lease = in_state(store, source)
        before = read(store, uid)
        assert before.status is source

        if target is TaskStatus.QUEUED:
            with pytest.raises(LeaseLost):
                store.release(Lease(uid, "w2", lease.token), crashed=True)
            with pytest.raises(IllegalMove):
                store.put(new_task(uid))
            store.sweep()
        elif target is TaskStatus.RUNNING:
            assert try_claim(store) is None
        elif target is TaskStatus.EXPIRED:
            store.sweep()
        elif target is TaskStatus.CANCELED:
            with pytest.raises(LeaseLost):
                store.end_canceled(lease)
            assert store.cancel(uid, tenant="alice") is source
        elif target is TaskStatus.SUCCEEDED:
            with pytest.raises(LeaseLost):
                store.finish(lease, [output(uid, token=9)])
        else:
            with pytest.raises(LeaseLost):
                store.fail(lease, error_code=1205, error_text="late")

        assert read(store, uid) == before
