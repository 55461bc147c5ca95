"""What every task store must do; a test class inherits it and gives a `make_store` fixture."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.errors import IllegalMove, LeaseLost
from api.store import SqlTaskStore
from api.tasks import (
    LEGAL_MOVES,
    Lease,
    NewTask,
    TaskOutput,
    TaskRecord,
    TaskStatus,
)

MakeStore = Callable[..., SqlTaskStore]
_numbers = itertools.count()


def new_task(uid: str | None = None, **changes: Any) -> NewTask:
    uid = uid or f"task{next(_numbers):016d}"
    values: dict[str, Any] = {
        "uid": uid,
        "tenant": "alice",
        "action": "GenerateBackgrounds",
        "params": {"PositivePrompts": ["蓝天"], "BatchSize": 1},
        "inputs": {"foreground": f"in/20260101/{uid}/foreground"},
        "model_key": "PICPIK General",
        "compat_key": "PICPIK General/64x64",
        "seed": 2**31 - 1,
        "num_images": 1,
        "points": 3,
        "note": "",
    }
    return NewTask(**{**values, **changes})


def output(uid: str, index: int = 0, token: int = 1) -> TaskOutput:
    return TaskOutput(
        image_index=index,
        blob_key=f"out/20260101/{uid}/t{token}/{index}.png",
        sha256="0" * 64,
        mime="image/png",
        width_px=64,
        height_px=48,
        size_bytes=1234,
        seed=7 + index,
    )


def lease_of(record: TaskRecord, owner: str = "w1") -> Lease:
    return Lease(record.uid, owner, record.token)


def try_claim(store: SqlTaskStore, owner: str = "w1", lease_s: float = 60.0) -> TaskRecord | None:
    """`lease_s` 0 gives a lease that is over at once."""
    records = store.claim(owner=owner, limit=1, lease_s=lease_s, solo_allowed=True)
    return records[0] if records else None


def claim_one(store: SqlTaskStore, owner: str = "w1", lease_s: float = 60.0) -> TaskRecord:
    record = try_claim(store, owner, lease_s)
    assert record is not None, "nothing to claim"
    return record


def read(store: SqlTaskStore, uid: str) -> TaskRecord:
    record = store.get(uid)
    assert record is not None, "no such task"
    return record


def claimed(store: SqlTaskStore, lease_s: float = 60.0, **changes: Any) -> tuple[str, Lease]:
    """A new task that runs."""
    task = new_task(**changes)
    store.put(task)
    record = claim_one(store, lease_s=lease_s)
    assert record.uid == task.uid
    return task.uid, lease_of(record)


def in_state(store: SqlTaskStore, status: TaskStatus) -> tuple[str, Lease]:
    """A task in that state, and the lease it has or last had; the queue is otherwise empty."""
    uid, lease = claimed(store, num_images=1)
    match status:
        case TaskStatus.QUEUED:
            store.release(lease, crashed=False)
        case TaskStatus.SUCCEEDED:
            store.finish(lease, [output(uid)])
        case TaskStatus.FAILED:
            store.fail(lease, error_code=1205, error_text="x")
        case TaskStatus.CANCELED:
            store.end_canceled(lease)
        case TaskStatus.EXPIRED:
            store.release(lease, crashed=False)
            time.sleep(0.05)
            assert store.sweep() == [uid]
    return uid, lease


class TaskStoreContract:
    """Inherit and define the fixture `make_store`: opens the same store again and again."""

    @pytest.fixture
    def store(self, make_store: MakeStore) -> SqlTaskStore:
        return make_store()

    # --- put and read ---

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

    # --- claim ---

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

        taken = store.claim(owner="w1", limit=2, lease_s=60, solo_allowed=True)

        assert [record.uid for record in taken] == ["a", "b"]

    def test_two_hundred_tasks_are_each_claimed_once(self, make_store: MakeStore) -> None:
        first, second = make_store(), make_store()
        for _ in range(200):
            first.put(new_task())
        taken: Counter[str] = Counter()
        lock = threading.Lock()

        def work(store: SqlTaskStore, owner: str) -> None:
            while records := store.claim(owner=owner, limit=3, lease_s=60, solo_allowed=True):
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

    def test_a_solo_task_is_taken_alone_and_only_where_allowed(self, store: SqlTaskStore) -> None:
        uid, lease = claimed(store)
        store.release(lease, crashed=True)
        store.put(new_task("neighbour"))

        assert read(store, uid).solo
        assert store.claim(owner="w1", limit=4, lease_s=60, solo_allowed=False) == []
        taken = store.claim(owner="w1", limit=4, lease_s=60, solo_allowed=True)
        assert [record.uid for record in taken] == [uid]

    def test_tasks_before_a_solo_one_are_taken_without_it(self, store: SqlTaskStore) -> None:
        store.put(new_task("first"))
        store.put(new_task("poison"))
        leases = [lease_of(claim_one(store)), lease_of(claim_one(store))]
        store.release(leases[1], crashed=True)
        store.release(leases[0], crashed=False)
        store.put(new_task("last"))

        taken = store.claim(owner="w1", limit=4, lease_s=60, solo_allowed=True)

        assert [record.uid for record in taken] == ["first"]

    def test_a_delayed_task_waits(self, store: SqlTaskStore) -> None:
        _, lease = claimed(store)
        store.release(lease, crashed=False, delay_s=0.1)

        assert try_claim(store) is None
        time.sleep(0.12)
        assert try_claim(store) is not None

    # --- ends ---

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

    # --- leases ---

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

    # --- cancel ---

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

    # --- illegal moves ---

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

    # --- time ---

    def test_a_task_that_waited_too_long_expires(self, make_store: MakeStore) -> None:
        store = make_store(queue_keep_s=0.02)
        store.put(new_task("late"))
        assert store.sweep() == []
        time.sleep(0.03)

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
        store = make_store(images_keep_s=0.02, records_keep_s=0.3)
        uid, lease = claimed(store)
        store.put(new_task("waiting"))
        store.finish(lease, [output(uid)])
        assert store.purge() == []
        time.sleep(0.03)

        (purged,) = store.purge()

        assert purged.uid == uid
        assert set(purged.blob_keys) == {
            f"in/20260101/{uid}/foreground",
            f"out/20260101/{uid}/t1/0.png",
        }
        record = read(store, uid)
        assert (record.status, record.outputs) == (TaskStatus.SUCCEEDED, ())
        assert store.purge() == []
        time.sleep(0.3)
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


def _publications(lease: Lease) -> list[Callable[[SqlTaskStore], object]]:
    """Every way in which an owner could still change a task."""
    return [
        lambda store: store.finish(lease, [output(lease.uid)]),
        lambda store: store.fail(lease, error_code=1205, error_text="late"),
        lambda store: store.end_canceled(lease),
        lambda store: store.release(lease, crashed=True),
        lambda store: store.release(lease, crashed=False),
    ]
