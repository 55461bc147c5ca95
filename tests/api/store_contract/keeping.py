"""What time does to tasks: waiting too long, images and records forgotten."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.tasks import TaskStatus
from tests.api.store_contract.stored import (
    MakeStore,
    claimed,
    in_state,
    new_task,
    output,
    read,
)


class KeepingContract:
    """Nothing is kept longer than it should be, nor forgotten before."""

    def test_a_task_that_waited_too_long_expires(self, make_store: MakeStore) -> None:
        store = make_store(queue_keep_s=0.5)
        store.put(new_task("late"))
        assert store.sweep() == []
        time.sleep(0.5)

        assert store.sweep() == ["late"]
        assert (read(store, "late").status, read(store, "late").error_code) == (
            TaskStatus.EXPIRED,
            1207,
        )

    def test_a_running_task_does_not_expire(self, make_store: MakeStore) -> None:
        store = make_store(queue_keep_s=0.02)
        uid, _ = claimed(store)
        time.sleep(0.03)

        assert store.sweep() == []
        assert read(store, uid).status is TaskStatus.RUNNING

    def test_purging_forgets_images_first_and_records_later(self, make_store: MakeStore) -> None:
        store = make_store(images_keep_s=0.5, records_keep_s=1.0)
        uid, lease = claimed(store)
        store.put(new_task("waiting"))
        store.finish(lease, [output(uid)])
        assert store.purge() == []
        time.sleep(0.5)

        (purged,) = store.purge()

        assert purged.uid == uid
        assert set(purged.blob_keys) == {
            f"in/20260101/{uid}/foreground",
            f"out/20260101/{uid}/t1/0.png",
        }
        record = read(store, uid)
        assert (record.status, record.outputs) == (TaskStatus.SUCCEEDED, ())
        assert store.purge() == []
        time.sleep(0.5)
        store.purge()
        assert store.get(uid) is None
        assert store.get("waiting") is not None

    @pytest.mark.parametrize("status", [s for s in TaskStatus if s.is_final])
    def test_the_inputs_of_every_ended_task_are_purged(
        self, make_store: MakeStore, status: TaskStatus
    ) -> None:
        store = make_store(
            images_keep_s=0.0, queue_keep_s=0.02 if status is TaskStatus.EXPIRED else None
        )
        uid, _ = in_state(store, status)
        time.sleep(0.005)

        (purged,) = store.purge()

        assert f"in/20260101/{uid}/foreground" in purged.blob_keys

    def test_a_purge_touches_no_more_than_its_limit(self, make_store: MakeStore) -> None:
        store = make_store(images_keep_s=0.0)
        for _ in range(3):
            in_state(store, TaskStatus.CANCELED)
        time.sleep(0.005)

        assert [len(store.purge(limit=2)) for _ in range(3)] == [2, 1, 0]

    def test_a_poll_during_a_purge_sees_all_images_or_none(self, make_store: MakeStore) -> None:
        store = make_store(images_keep_s=0.0)
        uids = []
        for _ in range(40):
            uid, lease = claimed(store, num_images=4)
            store.finish(lease, [output(uid, index) for index in range(4)])
            uids.append(uid)
        time.sleep(0.005)
        seen: set[int] = set()
        stop = threading.Event()

        def poll() -> None:
            while not stop.is_set():
                seen.update(len(r.outputs) for r in store.get_many(uids, tenant="alice") if r)

        with ThreadPoolExecutor(2) as pool:
            polls = [pool.submit(poll) for _ in range(2)]
            time.sleep(0.02)
            while store.purge(limit=5):
                pass
            stop.set()
            for each in polls:
                each.result()

        assert seen <= {0, 4}
        assert [read(store, uid).outputs for uid in uids] == [()] * 40
