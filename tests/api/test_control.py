from __future__ import annotations

import pytest

from api.tasks import Claimant
from tests.api.bench import Bench
from tests.api.wire import assert_refused, generate


def canceled(bench: Bench, user: str = "alice", /, **fields: object) -> list[dict[str, object]]:
    return bench.caller.call(user, Action="CancelTask", **fields)["TaskDetailList"]


def test_a_queued_task_is_canceled_at_once(bench: Bench):
    uid = bench.submit()
    [detail] = canceled(bench, TaskUID=uid)
    assert (detail["Status"], detail["ErrorCode"]) == ("Error", 1206)
    assert detail == bench.detail(uid)
    assert bench.store.claim(Claimant("w"), limit=1, lease_s=60) == []


def test_a_running_task_is_asked_to_stop(bench: Bench):
    uid = bench.submit()
    bench.store.claim(Claimant("w"), limit=1, lease_s=60)
    [detail] = canceled(bench, TaskUIDList=[uid])
    assert (detail["Status"], detail["Stage"]) == ("Running", "canceling")
    assert bench.record(uid).cancel_requested


def test_an_ended_task_stays_as_it_is(bench: Bench):
    uid = bench.submit()
    bench.run(uid, [0])
    [detail] = canceled(bench, TaskUID=uid)
    assert detail["Status"] == "Finished"
    assert len(detail["ImgList"]) == 1


def test_foreign_and_unknown_tasks_are_answered_alike_and_live_on(bench: Bench):
    uid = bench.submit()
    [foreign, unknown] = canceled(bench, "bob", TaskUIDList=[uid, "0" * 20])
    assert (foreign["Status"], foreign["ErrorCode"]) == ("Error", 1203)
    assert {**foreign, "TaskUID": ""} == {**unknown, "TaskUID": ""}
    assert bench.detail(uid)["Status"] == "Queuing"


def test_answers_come_in_the_order_asked(bench: Bench):
    uids = [bench.submit() for _ in range(3)]
    asked = [uids[2], "nobody", uids[0], uids[2]]
    assert [detail["TaskUID"] for detail in canceled(bench, TaskUIDList=asked)] == asked
    assert bench.detail(uids[1])["Status"] == "Queuing"


@pytest.mark.parametrize(
    ("fields", "ret_code", "named"),
    [
        ({}, 220, "TaskUIDList"),
        ({"TaskUID": "a", "TaskUIDList": ["b"]}, 230, "TaskUIDList"),
        ({"TaskUID": ["a"]}, 230, "TaskUID"),
        ({"TaskUIDList": ["a"] * 101}, 230, "TaskUIDList"),
    ],
)
def test_what_names_no_task_is_refused(shared: Bench, fields, ret_code, named):
    answer = shared.caller.ask({"Action": "CancelTask", **fields})
    assert_refused(answer, ret_code, f"[{named}]")


# Old clients -------------------------------------------------------------------------------------

COMMON = ["RetCode", "Action", "Message"]
LEGACY = ["TaskType", "TaskStatus", "FinalPictureUrls", "TaskErrorMsg", "TaskErrorCode"]


def test_documented_answers_hold_what_they_held_before(bench: Bench):
    """Keys and their order, byte for byte: some clients read into closed types."""
    uid = bench.submit()
    call = bench.caller.call
    assert [*call(Action="ListRunningTasks")] == [*COMMON, "TaskUIDList"]
    assert [*call(Action="GetGenerateTaskDetail", TaskUID=uid)] == [*COMMON, *LEGACY]
    listed = call(Action="ListGenerateTaskDetail", TaskUIDs=[uid])
    assert [*listed] == [*COMMON, "TaskDetailList"]
    assert [*listed["TaskDetailList"][0]] == [*LEGACY, "TaskUid"]
    balance = ["TotalCredits", "UsedCredits", "ExpireTimestamp", "ReservedCredits"]  # an addition
    assert [*call(Action="GetCreditBalance")] == [*COMMON, *balance]
    assert [*call(**generate())] == [*COMMON, "TaskUID"]


def test_additions_stand_behind_the_documented_fields_of_a_detail(bench: Bench):
    detail = bench.detail(bench.submit())
    documented = ["TaskUID", "Action", "Status", "ImgList", "Seed", "TxtList", "ConsumeApiPoint"]
    documented += ["ErrorCode", "ErrorMassage"]
    additions = ["SeedList", "ErrorMessage", "Progress", "Note", "Stage", "QueuePosition"]
    additions += ["StepsDone", "StepsTotal", "PositivePromptsUsed", "NegativePromptsUsed"]
    additions += ["ExpireTimestamp"]
    assert [name for name in detail if name not in additions] == documented
    assert [name for name in detail if name not in documented] == additions


def test_a_waiting_task_tells_its_position(bench: Bench):
    uids = [bench.submit() for _ in range(3)]
    bench.app.state.service.positions._stale_at = 0.0
    details = bench.caller.call(Action="ListTasksDetails", TaskUIDList=uids)["TaskDetailList"]
    assert [detail["QueuePosition"] for detail in details] == [1, 2, 3]
    bench.store.claim(Claimant("w"), limit=1, lease_s=60)
    assert bench.detail(uids[0])["QueuePosition"] == 0
