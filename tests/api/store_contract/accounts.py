"""Points: reserved with the task, charged or released with its end, never more than there are."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from api.accounts import open_account
from api.errors import IllegalMove, LeaseLost, QueueFull, TooFewCredits
from api.schema import tasks as t
from api.store import SqlTaskStore
from api.tasks import Account, Backlog, IdempotencyKey, TaskStatus, WorkerState
from tests.api.store_contract.stored import (
    MakeStore,
    claim_one,
    claimed,
    in_state,
    lease_of,
    new_task,
    output,
    try_claim,
)


def granted(store: SqlTaskStore, **limits: object) -> SqlTaskStore:
    """`store` with an account of alice."""
    with store.database.write() as connection:
        open_account(connection, "alice", **limits)
    return store


def points(store: SqlTaskStore, tenant: str = "alice") -> tuple[int, int]:
    """Reserved and used."""
    account = store.account(tenant=tenant)
    return account.reserved_points, account.used_points


class AccountContract:
    """Every point of an account is free, reserved by an unfinished task, or charged for good."""

    def test_a_key_is_unlimited_unless_something_else_is_stored(self, store: SqlTaskStore) -> None:
        assert store.account(tenant="alice") == Account()
        store.put(new_task(points=10**9))
        store.put(new_task(points=10**9))
        assert store.account(tenant="alice") == Account(reserved_points=2 * 10**9)
        assert store.account(tenant="bob") == Account()

    @pytest.mark.parametrize("status", TaskStatus)
    def test_points_are_held_until_the_end_and_charged_for_a_success_only(
        self, make_store: MakeStore, status: TaskStatus
    ) -> None:
        expires = status is TaskStatus.EXPIRED
        store = make_store(queue_keep_s=0.04) if expires else make_store()
        in_state(store, status)
        assert points(store) == {
            TaskStatus.QUEUED: (3, 0),
            TaskStatus.RUNNING: (3, 0),
            TaskStatus.SUCCEEDED: (0, 3),
        }.get(status, (0, 0))

    def test_a_task_that_failed_in_part_is_not_charged(self, store: SqlTaskStore) -> None:
        uid, lease = claimed(store, num_images=2)
        store.fail(lease, error_code=1205, error_text="one", outputs=[output(uid, 1)])
        assert points(store) == (0, 0)

    def test_points_stay_held_while_a_task_is_run_again(self, make_store: MakeStore) -> None:
        store = make_store(max_attempts=2)
        _, lease = claimed(store)
        store.release(lease, crashed=True)
        assert points(store) == (3, 0)
        claim_one(store, lease_s=-1)
        store.sweep()
        assert points(store) == (0, 0), "its last start was used up"

    def test_a_cancel_releases_at_once_or_with_the_end_of_the_run(
        self, store: SqlTaskStore
    ) -> None:
        waiting = new_task()
        store.put(waiting)
        store.cancel(waiting.uid, tenant="alice")
        store.cancel(waiting.uid, tenant="alice")
        assert points(store) == (0, 0)
        uid, lease = claimed(store)
        store.cancel(uid, tenant="alice")
        assert points(store) == (3, 0)
        store.release(lease, crashed=False)
        assert points(store) == (0, 0)

    def test_an_end_that_is_refused_settles_nothing(self, store: SqlTaskStore) -> None:
        uid, lease = claimed(store, num_images=2)
        with pytest.raises(IllegalMove):
            store.finish(lease, [output(uid, 0)])
        assert points(store) == (3, 0)
        store.finish(lease, [output(uid, 0), output(uid, 1)])
        with pytest.raises(LeaseLost):
            store.finish(lease, [output(uid, 0), output(uid, 1)])
        with pytest.raises(LeaseLost):
            store.fail(lease, error_code=1205, error_text="late")
        store.sweep()
        assert points(store) == (0, 3)

    def test_a_task_that_is_not_stored_holds_nothing(self, store: SqlTaskStore) -> None:
        store.put(new_task("twice"))
        with pytest.raises(IllegalMove):
            store.put(new_task("twice"))
        assert points(store) == (3, 0)

    def test_what_an_account_does_not_cover_is_refused_and_not_stored(
        self, store: SqlTaskStore
    ) -> None:
        granted(store, total_points=7)
        store.put(new_task(points=4))
        with pytest.raises(TooFewCredits, match="takes 4 credits, 3 are left"):
            store.put(new_task("too-much", points=4))
        assert store.get("too-much") is None
        store.put(new_task(points=3))
        store.put(new_task(points=0))
        with pytest.raises(TooFewCredits, match="0 are left"):
            store.put(new_task(points=1))
        assert points(store) == (7, 0)

    @pytest.mark.parametrize("total", [None, 100])
    def test_an_expired_account_takes_no_tasks_and_keeps_those_it_has(
        self, store: SqlTaskStore, total: int | None
    ) -> None:
        granted(store, total_points=total, expires_at=time.time() + 0.5)
        uid, lease = claimed(store)
        time.sleep(0.5)
        with pytest.raises(TooFewCredits, match="expired"):
            store.put(new_task())
        store.finish(lease, [output(uid)])
        assert points(store) == (0, 3)

    def test_many_at_once_never_take_more_than_there_is(self, make_store: MakeStore) -> None:
        granted(make_store(), total_points=100)

        def put_some(store: SqlTaskStore) -> int:
            accepted = 0
            for _ in range(12):
                try:
                    store.put(new_task(points=3))
                except TooFewCredits:
                    continue
                accepted += 1
            return accepted

        # A store each: within one, writers queue up in this process already.
        with ThreadPoolExecutor(6) as pool:
            accepted = sum(pool.map(put_some, [make_store() for _ in range(6)]))
        store = make_store()
        assert accepted == 33
        assert points(store) == (99, 0)
        assert store.depth() == 33

    def test_many_first_tasks_at_once_make_one_account(self, make_store: MakeStore) -> None:
        stores = [make_store() for _ in range(6)]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda store: store.put(new_task()), stores))
        assert points(stores[0]) == (18, 0)

    def test_ends_and_starts_at_once_leave_no_point_over(self, make_store: MakeStore) -> None:
        granted(make_store(), total_points=300)
        for _ in range(24):
            make_store().put(new_task(points=5))

        def work(number: int) -> None:
            store = make_store()
            while (record := try_claim(store, f"w{number}")) is not None:
                lease = lease_of(record, f"w{number}")
                if record.seed % 2:
                    store.finish(lease, [output(record.uid)])
                else:
                    store.fail(lease, error_code=1205, error_text="x")
                store.sweep()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert points(make_store()) == (0, 24 * 5)

    def test_a_key_has_no_more_tasks_waiting_than_it_may(self, make_store: MakeStore) -> None:
        store = granted(make_store(max_queued_per_key=9), max_queued=2)
        store.require_place(tenant="alice")
        _, lease = claimed(store)
        store.put(new_task())
        store.put(new_task())
        with pytest.raises(QueueFull, match="2 tasks waiting"):
            store.require_place(tenant="alice")
        with pytest.raises(QueueFull):
            store.put(new_task("third"))
        assert store.get("third") is None
        assert points(store) == (9, 0)
        store.release(lease, crashed=False)  # what was accepted waits again all the same
        assert len(store.unfinished(tenant="alice")) == 3
        for _ in range(9):
            store.put(new_task(tenant="bob"))
        with pytest.raises(QueueFull):
            store.put(new_task(tenant="bob"))

    def test_a_keys_limit_holds_for_many_at_once(self, make_store: MakeStore) -> None:
        def put_some(store: SqlTaskStore) -> int:
            accepted = 0
            for _ in range(4):
                try:
                    store.put(new_task())
                except QueueFull:
                    continue
                accepted += 1
            return accepted

        with ThreadPoolExecutor(5) as pool:
            stores = [make_store(max_queued_per_key=7) for _ in range(5)]
            assert sum(pool.map(put_some, stores)) == 7

    def test_the_backlog_is_what_waits_and_who_takes_it(self, store: SqlTaskStore) -> None:
        assert store.backlog() == Backlog(0, 0.0, 0)
        claimed(store, est_cost=100.0)
        store.put(new_task(est_cost=1.5))
        store.put(new_task(est_cost=2.0))
        for owner, draining in (("w1", False), ("w2", False), ("w3", True)):
            store.check_in(WorkerState(owner, "host", "cpu", (), 0, draining))
        assert store.backlog() == Backlog(2, 3.5, 2)

    def test_an_idempotency_key_is_stored_once_for_each_tenant(self, make_store: MakeStore) -> None:
        key = IdempotencyKey("order-7", "digest")

        def put(store: SqlTaskStore) -> str:
            task = new_task()
            try:
                store.put(task, idempotency_key=key)
            except IllegalMove:
                return ""
            return task.uid

        with ThreadPoolExecutor(6) as pool:
            uids = {*pool.map(put, [make_store() for _ in range(6)])} - {""}
        store = make_store()
        assert len(uids) == 1
        assert store.find_idempotent("order-7", tenant="alice") == (*uids, "digest")
        assert store.find_idempotent("order-7", tenant="bob") is None
        assert points(store) == (3, 0)
        store.put(new_task(tenant="bob"), idempotency_key=key)

    def test_what_a_worker_without_accounts_ended_is_settled_by_the_next_sweep(
        self, store: SqlTaskStore
    ) -> None:
        uids = [claimed(store, points=p)[0] for p in (3, 5, 7)]
        for uid, state in zip(uids, (TaskStatus.SUCCEEDED, TaskStatus.FAILED), strict=False):
            with store.database.write() as connection:
                ended = {"state": state, "finished_at": store.database.now}
                connection.execute(update(t).where(t.c.uid == uid).values(**ended))
        assert points(store) == (15, 0)
        store.sweep()
        assert points(store) == (7, 3)
        store.sweep()
        assert points(store) == (7, 3)
