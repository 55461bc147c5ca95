"""Who comes next: shares of keys, priorities, limits, groups, and what is loaded where."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from api import claims
from api.fair_queue import Share
from api.schema import tasks
from api.store import SqlTaskStore
from api.tasks import Claimant, TaskStatus, WorkerState
from tests.api.store_contract.stored import (
    MakeStore,
    claim_one,
    claimed,
    lease_of,
    new_task,
    output,
    put_many,
    read,
)


def taken(store: SqlTaskStore, claimant: Claimant, *, limit: int = 8) -> list[str]:
    return [record.uid for record in store.claim(claimant, limit=limit, lease_s=60)]


def order(store: SqlTaskStore, count: int) -> list[str]:
    """Tenants of the next tasks in the order they are claimed, one by one."""
    return [claim_one(store).tenant for _ in range(count)]


def age(store: SqlTaskStore, uid: str, age_s: float) -> None:
    with store.database.write() as connection:
        created_at = tasks.c.created_at - age_s
        connection.execute(update(tasks).where(tasks.c.uid == uid).values(created_at=created_at))


def worker(owner: str, *loaded: str, num_running: int = 0, draining: bool = False) -> WorkerState:
    return WorkerState(owner, "host", "cuda:0", loaded, num_running, draining)


class SharingContract:
    """Fair between keys, quick for the device."""

    def test_a_new_key_need_not_wait_for_all_tasks_of_another(self, store: SqlTaskStore) -> None:
        put_many(store, 1700, tenant="alice", est_cost=1.0)
        for _ in range(5):
            store.put(new_task(tenant="bob", est_cost=1.0))

        assert order(store, 12).count("bob") == 5

    def test_keys_that_wait_are_served_by_weight(self, store: SqlTaskStore) -> None:
        store.fair_queue.set_share("bob", Share(weight=3.0))
        for tenant in ("alice", "bob"):
            for _ in range(40):
                store.put(new_task(tenant=tenant, est_cost=1.0))

        assert 29 <= order(store, 40).count("bob") <= 31

    def test_a_cost_is_a_share_too(self, store: SqlTaskStore) -> None:
        for tenant, cost in (("alice", 4.0), ("bob", 1.0)):
            for _ in range(40):
                store.put(new_task(tenant=tenant, est_cost=cost))

        assert 31 <= order(store, 40).count("bob") <= 33

    def test_a_key_that_was_idle_has_saved_nothing_up(self, store: SqlTaskStore) -> None:
        for _ in range(20):
            claimed(store, tenant="alice", est_cost=1.0)
        for tenant in ("bob", "alice"):
            for _ in range(10):
                store.put(new_task(tenant=tenant, est_cost=1.0))

        assert 4 <= order(store, 10).count("alice") <= 6

    def test_a_key_of_higher_priority_goes_first(self, store: SqlTaskStore) -> None:
        store.put(new_task(tenant="alice"))
        store.fair_queue.set_share("bob", Share(priority=1))
        for _ in range(2):
            store.put(new_task(tenant="bob"))

        assert order(store, 3) == ["bob", "bob", "alice"]
        assert store.fair_queue.share("bob") == Share(priority=1)
        assert store.fair_queue.share("nobody") == Share()

    @pytest.mark.parametrize("share", [Share(weight=0.0), Share(max_running=0)])
    def test_a_share_that_would_stop_a_key_is_refused(
        self, store: SqlTaskStore, share: Share
    ) -> None:
        with pytest.raises(ValueError, match=r"weight|max_running"):
            store.fair_queue.set_share("bob", share)

    def test_a_key_runs_no_more_than_its_limit(self, make_store: MakeStore) -> None:
        store = make_store(max_running_per_key=3)
        store.fair_queue.set_share("bob", Share(max_running=1))
        for tenant in ("alice", "bob"):
            for i in range(5):
                store.put(new_task(f"{tenant}{i}", tenant=tenant))

        uids = [*taken(store, Claimant("w1")), *taken(store, Claimant("w1"))]
        assert sorted(uids) == ["alice0", "alice1", "alice2", "bob0"]
        assert taken(store, Claimant("w1")) == []
        store.finish(lease_of(read(store, "bob0")), [output("bob0")])
        assert taken(store, Claimant("w1")) == ["bob1"]

    def test_a_key_at_its_limit_keeps_no_other_waiting(self, make_store: MakeStore) -> None:
        store = make_store(max_running_per_key=1)
        claimed(store, tenant="alice")
        put_many(store, 600, tenant="alice")
        for _ in range(3):
            store.put(new_task(tenant="bob"))

        assert order(store, 1) == ["bob"]
        assert taken(store, Claimant("w1")) == []

    def test_a_limit_holds_for_claims_at_the_same_time(self, make_store: MakeStore) -> None:
        stores = [make_store(max_running_per_key=3) for _ in range(4)]
        put_many(stores[0], 40)

        def claim(store: SqlTaskStore) -> list[str]:
            return [uid for _ in range(5) for uid in taken(store, Claimant("w1"), limit=2)]

        with ThreadPoolExecutor(4) as pool:
            uids = list(itertools.chain(*pool.map(claim, stores)))

        assert len(uids) == 3

    def test_a_claim_is_of_one_group(self, store: SqlTaskStore) -> None:
        for i in range(6):
            store.put(new_task(f"{i}", compat_key=f"size {i % 2}"))

        assert taken(store, Claimant("w1")) == ["0", "2", "4"]
        assert taken(store, Claimant("w1"), limit=2) == ["1", "3"]

    def test_a_group_has_no_more_images_than_there_is_room_for(self, store: SqlTaskStore) -> None:
        for uid, num_images in (("a", 9), ("b", 4), ("c", 4), ("d", 1)):
            store.put(new_task(uid, num_images=num_images))

        assert taken(store, Claimant("w1", max_images=8)) == ["a"]  # one task may have more
        assert taken(store, Claimant("w1", max_images=8)) == ["b", "c"]

    def test_tasks_of_a_loaded_model_go_first(self, store: SqlTaskStore) -> None:
        for uid, model in (("a", "cold"), ("b", "warm"), ("c", "cold"), ("d", "warm")):
            store.put(new_task(uid, model_key=model, compat_key=model))

        assert taken(store, Claimant("w1", loaded=["warm"])) == ["b", "d"]
        assert taken(store, Claimant("w1", loaded=["warm"])) == ["a", "c"]

    def test_an_aged_task_goes_first_whatever_is_loaded(self, store: SqlTaskStore) -> None:
        for uid, model in (("a", "cold"), ("b", "warm")):
            store.put(new_task(uid, model_key=model, compat_key=model))
        age(store, "a", claims.AGED_S)

        assert taken(store, Claimant("w1", loaded=["warm"])) == ["a"]

    def test_a_loaded_model_does_not_beat_a_priority(self, store: SqlTaskStore) -> None:
        store.fair_queue.set_share("bob", Share(priority=1))
        store.put(new_task("a", tenant="alice", model_key="warm"))
        store.put(new_task("b", tenant="bob", model_key="cold", compat_key="cold"))

        assert taken(store, Claimant("w1", loaded=["warm"])) == ["b"]

    def test_a_young_task_is_left_to_an_idle_worker_that_has_its_model(
        self, store: SqlTaskStore
    ) -> None:
        store.check_in(worker("w1", "other"))
        store.check_in(worker("w2", "PICPIK General"))
        store.put(new_task("a"))

        assert taken(store, Claimant("w1", loaded=["other"])) == []
        age(store, "a", claims.COLD_DELAY_S)
        assert taken(store, Claimant("w1", loaded=["other"])) == ["a"]

    @pytest.mark.parametrize("change", [{"num_running": 1}, {"draining": True}])
    def test_a_task_is_not_left_to_a_worker_that_will_not_come(
        self, store: SqlTaskStore, change: dict[str, int]
    ) -> None:
        store.check_in(worker("w2", "PICPIK General", **change))
        store.put(new_task("a"))

        assert taken(store, Claimant("w1")) == ["a"]

    def test_no_worker_takes_more_than_its_share(self, store: SqlTaskStore) -> None:
        for owner in ("w1", "w2", "w3"):
            store.check_in(worker(owner, "PICPIK General"))
        put_many(store, 10)

        loaded = ["PICPIK General"]
        assert len(taken(store, Claimant("w1", loaded=loaded))) == 4
        assert len(taken(store, Claimant("w2", loaded=loaded))) == 2
        store.check_out("w3")
        assert len(taken(store, Claimant("w2", loaded=loaded))) == 2

    def test_a_task_that_ran_out_of_memory_runs_in_smaller_company(
        self, store: SqlTaskStore
    ) -> None:
        uid, lease = claimed(store)
        assert store.release(lease, crashed=False, max_batch=2) is TaskStatus.QUEUED
        put_many(store, 5)

        assert read(store, uid).max_batch == 2
        assert taken(store, Claimant("w1", num_running=2)) == []
        assert taken(store, Claimant("w1", num_running=1)) == [uid]
        assert read(store, uid).attempts == 1

    def test_a_heartbeat_does_not_keep_a_task_past_its_deadline(
        self, make_store: MakeStore
    ) -> None:
        store = make_store(run_limit_s=0.2)
        uid, lease = claimed(store, lease_s=0.2)
        time.sleep(0.1)
        assert store.beat([lease], lease_s=0.2, progress={}).lost == frozenset()
        assert store.sweep() == []
        deadline = time.monotonic() + 10
        while not store.sweep():
            store.beat([lease], lease_s=0.2, progress={})
            assert time.monotonic() < deadline
            time.sleep(0.02)

        assert read(store, uid).status is TaskStatus.QUEUED
        assert store.beat([lease], lease_s=0.2, progress={}).lost == {uid}

    def test_workers_are_known_until_they_end(self, store: SqlTaskStore) -> None:
        store.check_in(worker("w1"))
        store.check_in(worker("w2"))
        store.check_in(worker("w1", "m", num_running=2))

        records = {record.state.owner: record for record in store.workers()}
        assert records.keys() == {"w1", "w2"}
        assert records["w1"].state == worker("w1", "m", num_running=2)
        assert records["w1"].started_at <= records["w1"].last_beat_at
        store.check_out("w1")
        assert [record.state.owner for record in store.workers()] == ["w2"]
