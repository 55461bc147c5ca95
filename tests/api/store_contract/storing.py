"""Storing tasks and reading them back."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.errors import IllegalMove
from api.store import SqlTaskStore
from api.tasks import NewTask, TaskStatus
from tests.api.store_contract.stored import (
    MakeStore,
    claimed,
    in_state,
    new_task,
    read,
)


class StoringContract:
    """What is stored reads back, for its owner alone."""

    def test_a_stored_task_reads_back_as_it_was(self, store: SqlTaskStore) -> None:
        task = new_task(note="hello", num_images=4)
        store.put(task)

        record = read(store, task.uid)

        for name in NewTask.__slots__:
            assert getattr(record, name) == getattr(task, name)
        assert record.status is TaskStatus.QUEUED
        assert (record.attempts, record.max_attempts, record.token) == (0, 3, 0)
        assert (record.started_at, record.finished_at, record.images_expire_at) == (None,) * 3
        assert abs(record.created_at - time.time()) < 5
        assert record.outputs == ()

    def test_a_stored_task_survives_reopening(self, make_store: MakeStore) -> None:
        task = new_task()
        first = make_store()
        first.put(task)
        first.close()

        assert read(make_store(), task.uid).uid == task.uid

    def test_a_uid_is_stored_once(self, store: SqlTaskStore) -> None:
        store.put(new_task("twice"))

        with pytest.raises(IllegalMove):
            store.put(new_task("twice", tenant="mallory"))

        assert read(store, "twice").tenant == "alice"

    def test_another_tenant_sees_none(self, store: SqlTaskStore) -> None:
        store.put(new_task("mine"))

        assert store.get_many(["mine"], tenant="mallory") == [None]
        assert store.unfinished(tenant="mallory") == []
        assert store.cancel("mine", tenant="mallory") is None
        assert read(store, "mine").status is TaskStatus.QUEUED

    def test_records_come_in_the_order_asked_for(self, store: SqlTaskStore) -> None:
        for uid in ("a", "b", "c"):
            store.put(new_task(uid))

        records = store.get_many(["c", "unknown", "a", "c"], tenant="alice")

        assert [record and record.uid for record in records] == ["c", None, "a", "c"]

    def test_many_uids_may_be_asked_for(self, store: SqlTaskStore) -> None:
        store.put(new_task("a"))

        records = store.get_many([f"u{i}" for i in range(3000)] + ["a"], tenant="alice")

        assert [record.uid for record in records if record] == ["a"]
        assert len(records) == 3001

    def test_unfinished_and_depth_follow_the_states(self, store: SqlTaskStore) -> None:
        done, _ = in_state(store, TaskStatus.SUCCEEDED)
        running, _ = claimed(store)
        store.put(new_task("waiting"))

        assert store.unfinished(tenant="alice") == [running, "waiting"]
        assert store.depth() == 1
        assert done not in store.unfinished(tenant="alice")

    def test_eight_threads_store_at_once(self, store: SqlTaskStore) -> None:
        tasks = [new_task() for _ in range(80)]

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(store.put, tasks))

        assert store.depth() == 80
        assert set(store.unfinished(tenant="alice")) == {task.uid for task in tasks}

    def test_replicas_share_one_secret(self, make_store: MakeStore) -> None:
        stores = [make_store() for _ in range(4)]

        with ThreadPoolExecutor(4) as pool:
            secrets = set(pool.map(SqlTaskStore.secret, stores))

        assert len(secrets) == 1
        assert len(secrets.pop()) == 32
