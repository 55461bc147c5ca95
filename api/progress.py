"""How far a task is, in words and numbers for clients: additions to the protocol."""

from __future__ import annotations

from enum import StrEnum

from api.messages import DENOISING, FINISHING
from api.tasks import TaskRecord, TaskStatus


class TaskStage(StrEnum):
    """What a running task is doing; empty for one that is not running."""

    NONE = ""
    PREPARING = "preparing"
    DENOISING = DENOISING
    FINISHING = FINISHING
    CANCELING = "canceling"

    @classmethod
    def of(cls, record: TaskRecord) -> TaskStage:
        """The stage of a stored task."""
        if record.status is not TaskStatus.RUNNING:
            return cls.NONE
        if record.cancel_requested:
            return cls.CANCELING
        known = record.stage in (DENOISING, FINISHING)  # it may be another version's word
        return cls(record.stage) if known else cls.PREPARING


def num_steps(record: TaskRecord) -> int:
    """Denoising steps of all images as they were asked for; 0 where the record does not say.

    The engine may run more forwards than these, as for a canvas that takes two passes.
    """
    inference = record.params.get("MainModel", {}).get("InferenceParams", {})
    return int(inference.get("Steps", 0)) * record.num_images
