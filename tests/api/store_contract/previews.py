"""Previews: stored by the owner of the lease, read by the tenant, gone with the run."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from api.store import SqlTaskStore
from api.tasks import Lease, TaskStatus
from tests.api.store_contract.stored import (
    claim_one,
    claimed,
    lease_of,
    new_task,
    output,
    read,
    read_row,
)

LOOKS = {1: b"\x89PNG one", 0: b"\x89PNG zero"}


def shown(store: SqlTaskStore, lease_s: float = 60.0) -> tuple[str, Lease]:
    """A task that runs and has previews."""
    uid, lease = claimed(store)
    store.beat([lease], lease_s=lease_s, progress={}, previews={uid: LOOKS})
    assert store.previews(uid, tenant="alice") == LOOKS
    return uid, lease


def swept(store: SqlTaskStore, lease: Lease) -> object:
    store.beat([lease], lease_s=-1, progress={})
    return store.sweep()


ENDS: dict[str, Callable[[SqlTaskStore, Lease], object]] = {
    "finished": lambda store, lease: store.finish(lease, [output(lease.uid)]),
    "failed": lambda store, lease: store.fail(lease, error_code=1205, error_text="why"),
    "canceled": lambda store, lease: store.end_canceled(lease),
    "given back": lambda store, lease: store.release(lease, crashed=False),
    "crashed": lambda store, lease: store.release(lease, crashed=True),
    "swept": swept,
}


class PreviewContract:
    """They are there while the task runs, for its owner's eyes."""

    def test_previews_are_read_by_their_tenant_alone(self, store: SqlTaskStore) -> None:
        uid, _ = shown(store)
        assert store.previews(uid, tenant="bob") == {}
        assert store.previews("unknown", tenant="alice") == {}

    def test_a_heartbeat_without_previews_leaves_them(self, store: SqlTaskStore) -> None:
        uid, lease = shown(store)
        other, other_lease = claimed(store)
        progress = {uid: (0.5, "denoising")}
        later = {other: {0: b"later"}}
        store.beat([lease, other_lease], lease_s=60, progress=progress, previews=later)
        assert store.previews(uid, tenant="alice") == LOOKS
        assert store.previews(other, tenant="alice") == {0: b"later"}
        assert (read(store, uid).progress, read(store, other).progress) == (0.5, 0.0)

    def test_the_latest_previews_take_the_place_of_the_earlier(self, store: SqlTaskStore) -> None:
        uid, lease = shown(store)
        store.beat([lease], lease_s=60, progress={}, previews={uid: {0: b"new"}})
        assert store.previews(uid, tenant="alice") == {0: b"new"}

    @pytest.mark.parametrize("end", ENDS)
    def test_they_are_gone_when_the_run_has_ended(self, store: SqlTaskStore, end: str) -> None:
        uid, lease = shown(store)
        ENDS[end](store, lease)
        assert read(store, uid).status is not TaskStatus.RUNNING
        assert store.previews(uid, tenant="alice") == {}
        assert read_row(store, uid).previews is None

    def test_a_lost_lease_shows_nothing_any_more(self, store: SqlTaskStore) -> None:
        uid, old = shown(store, lease_s=0.0)
        time.sleep(0.005)
        store.sweep()
        record = claim_one(store, "w2")
        assert store.previews(uid, tenant="alice") == {}
        answer = store.beat([old], lease_s=60, progress={}, previews={uid: LOOKS})
        assert answer.lost == {uid}
        assert store.previews(uid, tenant="alice") == {}
        new = lease_of(record, "w2")
        store.beat([new], lease_s=60, progress={}, previews={uid: {0: b"second start"}})
        assert store.previews(uid, tenant="alice") == {0: b"second start"}

    def test_a_task_that_waits_has_none(self, store: SqlTaskStore) -> None:
        store.put(new_task("waits"))
        assert store.previews("waits", tenant="alice") == {}
        assert read_row(store, "waits").previews is None
