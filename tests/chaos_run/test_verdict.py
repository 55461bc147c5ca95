"""Every detector can fail: each finds its fault in the evidence of a clean run, doctored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scripts.chaos_run.report import is_clean, reached
from scripts.chaos_run.verdict import Accepted, Ending, Evidence, Move, Row, judge

LOST = "worker lost: every allowed start ended without a result"


def clean() -> Evidence:
    """Task "a" finished at its second start; "b" failed after all three."""
    return Evidence(
        accepted=[Accepted("a", "alice", 0), Accepted("b", "bob", 1)],
        endings={
            "a": Ending("Finished", images=("pixels 0",)),
            "b": Ending("Error", 1205, LOST),
        },
        leaks=[],
        oddities={},
        rows={
            "a": Row("alice", "succeeded", 1, 3, (("out/a/t2/0.png", "sha a"),)),
            "b": Row("bob", "failed", 1, 3),
        },
        moves=[
            Move("a", "queued", "running"),
            Move("a", "running", "queued"),
            Move("a", "queued", "running"),
            Move("a", "running", "succeeded"),
            Move("a", "", "output 0"),
            *3 * [Move("b", "queued", "running")],
            Move("b", "running", "failed"),
        ],
        blobs={"out/a/t2/0.png": "sha a", "out/a/t1/0.png": "of a dead attempt"},
        calm={0: ("pixels 0",), 1: ("pixels 1",)},
    )


def faults(**changes: Any) -> dict[str, list[str]]:
    found = judge(replace(clean(), **changes)).faults
    return {name: uids for name, uids in found.items() if uids}


def row(uid: str, **changes: Any) -> dict[str, Row]:
    rows = dict(clean().rows)
    return rows | {uid: replace(rows[uid], **changes)}


def ending(uid: str, **changes: Any) -> dict[str, Ending]:
    endings = dict(clean().endings)
    return endings | {uid: replace(endings[uid], **changes)}


def test_a_clean_run_has_no_faults_and_says_what_finished_and_what_failed():
    verdict = judge(clean())
    assert (verdict.finished, verdict.failed) == (["a"], ["b"])
    assert not any(verdict.faults.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": {"b": clean().rows["b"]}},
        {"endings": {"b": clean().endings["b"]}},
        {"rows": row("a", state="running")},
        {"rows": row("a", outputs=())},
        {"rows": row("a", num_images=2)},
        {"blobs": {}},
        {"blobs": {"out/a/t2/0.png": "other bytes"}},
        {"endings": ending("a", status="Error", code=1203, images=())},
    ],
    ids=[
        "no row",
        "no end seen",
        "never ended",
        "no image listed",
        "an image too few",
        "image gone",
        "image damaged",
        "unknown to its owner",
    ],
)
def test_a_lost_task_is_found(changes):
    assert faults(**changes)["lost"] == ["a"]


@pytest.mark.parametrize(
    "move",
    [
        Move("a", "running", "succeeded"),
        Move("a", "succeeded", "failed"),
        Move("a", "succeeded", "running"),
        Move("a", "", "output 0"),
    ],
    ids=["ends again", "ends otherwise", "runs again", "its image again"],
)
def test_a_task_published_twice_is_found(move):
    assert faults(moves=[*clean().moves, move]) == {"published_twice": ["a"]}


def test_a_task_of_the_wrong_owner_is_found():
    assert faults(rows=row("a", owner="bob")) == {"wrong_owner": ["a"]}


def test_a_task_that_a_stranger_was_told_of_is_found():
    assert faults(leaks=["b"]) == {"wrong_owner": ["b"]}


@pytest.mark.parametrize("images", [("pixels 1",), ("missing",)])
def test_an_image_unlike_the_calm_runs_is_found(images):
    assert faults(endings=ending("a", images=images)) == {"differing": ["a"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"endings": ending("b", text="not finite")},
        {"endings": ending("b", code=1204)},
        {"rows": row("b", state="canceled")},
        {"moves": [move for move in clean().moves if move.uid == "a"]},
    ],
    ids=["other text", "other code", "nobody canceled it", "it was not started so often"],
)
def test_a_failure_without_a_true_reason_is_found(changes):
    assert faults(**changes) == {"failed_untruly": ["b"]}


def test_a_task_that_nobody_was_answered_is_found():
    assert faults(rows=row("a") | {"c": clean().rows["a"]}) == {"made_twice": ["c"]}


@pytest.mark.parametrize("name", [*judge(clean()).faults, "oddities"])
def test_a_single_fault_makes_a_run_unclean(name):
    none = dict.fromkeys(judge(clean()).faults, 0) | {"oddities": 0}
    assert is_clean(none)
    assert not is_clean(none | {name: 1})


def test_a_run_that_was_too_short_says_so():
    targets = {"num_tasks": 2000, "num_kills": 500}
    assert reached({**targets, "accepted": 2000, "kills": 500})
    assert not reached({**targets, "accepted": 2000, "kills": 499})
    assert not reached({**targets, "accepted": 1999, "kills": 500})
