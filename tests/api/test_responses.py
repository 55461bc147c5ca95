from __future__ import annotations

import pytest

from api.responses import GetGenerateTaskDetailResponse, LegacyTaskDetail, TaskDetail
from api.tasks import TaskStatus
from tests.api.records import output, record


@pytest.mark.parametrize(
    ("status", "code", "wire", "points"),
    [
        (TaskStatus.QUEUED, 0, "Queuing", 0),
        (TaskStatus.RUNNING, 0, "Running", 0),
        (TaskStatus.SUCCEEDED, 0, "Finished", 11),
        (TaskStatus.FAILED, 1204, "Error", 0),
        (TaskStatus.FAILED, 1205, "Error", 0),
        (TaskStatus.CANCELED, 1206, "Error", 0),
        (TaskStatus.EXPIRED, 1207, "Error", 0),
    ],
)
def test_states_appear_as_the_wires_four(status: TaskStatus, code: int, wire: str, points: int):
    text = "what happened" if code else ""
    stored = record(status, error_code=code, error_text=text)
    detail = TaskDetail.from_record(stored, img_list=[]).model_dump(mode="json")
    assert detail == {
        "TaskUID": "u",
        "Action": "GenerateBackgrounds",
        "Status": wire,
        "ImgList": [],
        "ExpireTimestamp": 0,
        "Seed": 7,
        "SeedList": [],
        "TxtList": [],
        "ConsumeApiPoint": points,
        "ErrorCode": code,
        "ErrorMassage": text,
        "ErrorMessage": text,
        "Progress": 1.0 if wire == "Finished" else 0.5,
        "Note": "a note",
        "Stage": "preparing" if wire == "Running" else "",
        "QueuePosition": 0,
        "StepsDone": 0,
        "StepsTotal": 0,
        "PositivePromptsUsed": [],
        "NegativePromptsUsed": [],
    }


def test_every_state_has_one_on_the_wire():
    for status in TaskStatus:
        TaskDetail.from_record(record(status), img_list=[])


def test_a_failed_task_keeps_the_images_that_succeeded():
    stored = record(TaskStatus.FAILED, error_code=1205, error_text="x", outputs=(output(1),))
    detail = TaskDetail.from_record(stored, img_list=["url1"])
    assert (detail.Status, detail.ImgList, detail.SeedList) == ("Error", ["url1"], [8])


def test_seeds_go_with_their_images():
    stored = record(TaskStatus.SUCCEEDED, outputs=(output(0), output(1)))
    assert TaskDetail.from_record(stored, img_list=["a", "b"]).SeedList == [7, 8]
    assert TaskDetail.from_record(stored, img_list=[]).SeedList == []


def test_an_unknown_task_is_an_error_with_all_fields():
    known = TaskDetail.from_record(record(TaskStatus.QUEUED), img_list=[]).model_dump()
    unknown = TaskDetail.unknown("u").model_dump()
    assert unknown.keys() == known.keys()
    assert (unknown["Status"], unknown["ErrorCode"]) == ("Error", 1203)
    assert unknown["ErrorMassage"] == unknown["ErrorMessage"] != ""


def test_the_older_forms_say_the_same():
    stored = record(TaskStatus.FAILED, error_code=1205, error_text="x", outputs=(output(1),))
    detail = TaskDetail.from_record(stored, img_list=["url1"])
    flat = {
        "TaskType": "TaskGeneratePicture",
        "TaskStatus": "Error",
        "FinalPictureUrls": ["url1"],
        "TaskErrorMsg": "x",
        "TaskErrorCode": 1205,
    }
    listed = LegacyTaskDetail.from_detail(detail).model_dump(mode="json")
    single = GetGenerateTaskDetailResponse.from_detail(detail).model_dump(mode="json")
    assert listed == {**flat, "TaskUid": "u"}
    assert flat.items() <= single.items()
    assert "TaskUid" not in single
