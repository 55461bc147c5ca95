"""Previews over HTTP: for those who asked at submission, signed with the key of the task alone."""

from __future__ import annotations

import base64
from typing import Any

from api.tasks import Claimant, Lease
from tests.api.bench import Bench
from tests.api.wire import assert_refused, png

LOOKS = {0: png(8, 6, "RGB"), 1: png(9, 6, "RGB")}
WIRE = [
    {"ImageIndex": index, "Image": f"data:image/png;base64,{base64.b64encode(file).decode()}"}
    for index, file in LOOKS.items()
]


def previews(bench: Bench, uid: str, user: str = "alice") -> list[dict[str, Any]]:
    return bench.caller.call(user, Action="GetTaskPreviews", TaskUID=uid)["PreviewList"]


def started(bench: Bench, uid: str) -> Lease:
    [claimed] = bench.store.claim(Claimant("w"), limit=1, lease_s=60)
    assert claimed.uid == uid
    return Lease(uid, "w", claimed.token)


def show(bench: Bench, lease: Lease, looks: dict[int, bytes], progress: float = 0.5) -> None:
    """What a worker's heartbeat does."""
    done = {lease.uid: (progress, "denoising")}
    bench.store.beat([lease], lease_s=60, progress=done, previews={lease.uid: looks})


def test_a_running_tasks_previews_are_told_until_it_ends(bench: Bench):
    uid = bench.submit(Preview=True, BatchSize=2)
    assert bench.record(uid).params["Preview"] is True
    assert previews(bench, uid) == []
    lease = started(bench, uid)
    assert previews(bench, uid) == []
    show(bench, lease, {1: LOOKS[1]})
    assert previews(bench, uid) == WIRE[1:]
    show(bench, lease, LOOKS)
    assert previews(bench, uid) == WIRE
    bench.store.fail(lease, error_code=1205, error_text="why")
    assert previews(bench, uid) == []


def test_foreign_and_unknown_tasks_are_answered_alike(bench: Bench):
    uid = bench.submit(Preview=True)
    show(bench, started(bench, uid), LOOKS)
    foreign, unknown = (
        bench.caller.call("bob", Action="GetTaskPreviews", TaskUID=each) for each in (uid, "0" * 20)
    )
    assert foreign == unknown
    assert foreign["PreviewList"] == []


def test_a_task_must_be_named(shared: Bench):
    assert_refused(shared.caller.ask({"Action": "GetTaskPreviews"}), 220, "[TaskUID]")
    answer = shared.caller.ask({"Action": "GetTaskPreviews", "TaskUID": ["x"]})
    assert_refused(answer, 230, "[TaskUID]")


def test_a_task_with_previews_looks_to_old_clients_like_any_other(bench: Bench):
    details = []
    for asked in (False, True):
        uid = bench.submit(Seed=1, Preview=asked)
        show(bench, started(bench, uid), LOOKS)
        details.append({**bench.detail(uid), "TaskUID": ""})
    assert details[0] == details[1]
