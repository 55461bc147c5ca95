"""Claiming tasks."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter

from api.store import SqlTaskStore
from api.tasks import Claimant, TaskStatus
from tests.api.store_contract.stored import (
    MakeStore,
    claim_one,
    claimed,
    lease_of,
    new_task,
    put_many,
    read,
    try_claim,
)


class ClaimingContract:
    """Each task is claimed once, in order, a suspect one alone."""

    def test_the_oldest_is_claimed_first_and_its_start_counted(self, store: SqlTaskStore) -> None:
        store.put(new_task("old"))
        store.put(new_task("young"))

        record = claim_one(store)

        assert record.uid == "old"
        assert record.status is TaskStatus.RUNNING
        assert (record.attempts, record.token) == (1, 1)
        assert record.started_at is not None

    def test_a_claim_takes_no_more_than_its_limit(self, store: SqlTaskStore) -> None:
        for uid in ("a", "b", "c"):
            store.put(new_task(uid))

        taken = store.claim(Claimant("w1"), limit=2, lease_s=60)

        assert [record.uid for record in taken] == ["a", "b"]

    def test_two_hundred_tasks_are_each_claimed_once(self, make_store: MakeStore) -> None:
        first, second = make_store(), make_store()
        for _ in range(200):
            first.put(new_task())
        taken: Counter[str] = Counter()
        lock = threading.Lock()

        def work(store: SqlTaskStore, owner: str) -> None:
            while records := store.claim(Claimant(owner), limit=3, lease_s=60):
                with lock:
                    taken.update(record.uid for record in records)

        threads = [
            threading.Thread(target=work, args=(store, f"w{i}"))
            for i, store in enumerate((first, second))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(taken) == 200
        assert set(taken.values()) == {1}

    def test_two_processes_start_each_of_two_thousand_tasks_once(self, store: SqlTaskStore) -> None:
        uids = put_many(store, 2000)
        program = (
            "import sys; from api.store import SqlTaskStore; from api.tasks import Claimant\n"
            "store = SqlTaskStore(sys.argv[1])\n"
            "while records := store.claim(Claimant(sys.argv[2]), limit=8, lease_s=60):\n"
            "    print(*(record.uid for record in records), sep='\\n')\n"
        )
        url = store.database.url.render_as_string(hide_password=False)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program, url, owner], stdout=subprocess.PIPE, text=True
            )
            for owner in ("w1", "w2")
        ]
        taken = [uid for each in processes for uid in each.communicate(timeout=60)[0].split()]

        assert sorted(taken) == uids
        assert store.depth() == 0

    def test_a_solo_task_is_taken_alone_and_only_where_allowed(self, store: SqlTaskStore) -> None:
        uid, lease = claimed(store)
        store.release(lease, crashed=True)
        store.put(new_task("neighbour"))

        assert read(store, uid).solo
        assert store.claim(Claimant("w1", num_running=1), limit=4, lease_s=60) == []
        taken = store.claim(Claimant("w1"), limit=4, lease_s=60)
        assert [record.uid for record in taken] == [uid]

    def test_tasks_before_a_solo_one_are_taken_without_it(self, store: SqlTaskStore) -> None:
        store.put(new_task("first"))
        store.put(new_task("poison"))
        leases = [lease_of(claim_one(store)), lease_of(claim_one(store))]
        store.release(leases[1], crashed=True)
        store.release(leases[0], crashed=False)
        store.put(new_task("last"))

        taken = store.claim(Claimant("w1"), limit=4, lease_s=60)

        assert [record.uid for record in taken] == ["first"]

    def test_a_delayed_task_waits(self, store: SqlTaskStore) -> None:
        _, lease = claimed(store)
        store.release(lease, crashed=False, delay_s=0.1)

        assert try_claim(store) is None
        time.sleep(0.12)
        assert try_claim(store) is not None
