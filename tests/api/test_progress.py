from __future__ import annotations

import pytest

from api.progress import TaskStage
from api.responses import TaskDetail
from api.tasks import TaskStatus
from tests.api.records import record

PARAMS = {"MainModel": {"InferenceParams": {"Steps": 12}}}


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ("", "preparing"),
        ("denoising", "denoising"),
        ("finishing", "finishing"),
        ("a later version's word", "preparing"),
    ],
)
def test_a_running_task_tells_its_stage(stored: str, told: str):
    assert TaskStage.of(record(TaskStatus.RUNNING, stage=stored)) == told


def test_a_running_task_that_is_to_stop_says_so():
    stopping = record(TaskStatus.RUNNING, stage="denoising", cancel_requested=True)
    assert TaskStage.of(stopping) == "canceling"


@pytest.mark.parametrize("status", [s for s in TaskStatus if s is not TaskStatus.RUNNING])
def test_a_task_that_does_not_run_has_no_stage(status: TaskStatus):
    assert TaskStage.of(record(status, stage="denoising")) == ""


def test_steps_are_counted_over_all_images():
    running = record(TaskStatus.RUNNING, params=PARAMS, num_images=2, progress=0.5)
    detail = TaskDetail.from_record(running, img_list=[])
    assert (detail.StepsDone, detail.StepsTotal) == (12, 24)
    ended = record(TaskStatus.SUCCEEDED, params=PARAMS, num_images=2, progress=0.9)
    detail = TaskDetail.from_record(ended, img_list=[])
    assert (detail.StepsDone, detail.StepsTotal) == (24, 24)
