"""Task records as a store would give them."""

from __future__ import annotations

from typing import Any

from api.tasks import TaskOutput, TaskRecord, TaskStatus


def output(index: int) -> TaskOutput:
    return TaskOutput(index, f"k{index}", "00", "image/png", 8, 6, 10, seed=7 + index)


def record(status: TaskStatus, **changes: Any) -> TaskRecord:
    fields: dict[str, Any] = {
        "uid": "u",
        "tenant": "alice",
        "action": "GenerateBackgrounds",
        "status": status,
        "params": {},
        "inputs": {},
        "model_key": "m",
        "compat_key": "c",
        "seed": 7,
        "num_images": 2,
        "points": 11,
        "note": "a note",
        "attempts": 1,
        "max_attempts": 3,
        "solo": False,
        "token": 1,
        "cancel_requested": False,
        "progress": 0.5,
        "stage": "denoise",
        "error_code": 0,
        "error_text": "",
        "created_at": 0.0,
        "started_at": None,
        "finished_at": None,
        "images_expire_at": None,
    }
    return TaskRecord(**{**fields, **changes})
