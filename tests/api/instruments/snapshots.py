"""A worker's numbers as a supervisor would have written them."""

from __future__ import annotations

import os
import time
from typing import Any

from api.instruments.snapshot import TaskState, WorkerCounts, WorkerSnapshot
from engine.counts import CacheCounts, DeviceState, Distribution, EngineCounts


def distribution(*values: float, bounds: tuple[float, ...]) -> Distribution:
    seen = Distribution.empty(bounds)
    for value in values:
        seen = seen.with_(value)
    return seen


def snapshot(**changes: Any) -> WorkerSnapshot:
    engine = EngineCounts()
    fields: dict[str, Any] = {
        "worker": "host:1:ab",
        "device": "cpu",
        "pid": os.getpid(),
        "parent_pid": os.getppid(),
        "written_at": time.time(),
        "is_ready": True,
        "steps_per_s": 4.5,
        "tasks": (TaskState("u" * 20, "m", 2, 1, 0.5, "denoising"),),
        "counts": WorkerCounts(
            starts=7,
            reruns=2,
            ended={"succeeded": 4, "failed": 1},
            crashes=3,
            leases_expired=5,
            publishes_fenced=6,
        ),
        "engine": EngineCounts(
            steps=40,
            step_s=distribution(0.004, 0.3, 99.0, bounds=engine.step_s.bounds),
            lanes=distribution(1, 8, bounds=engine.lanes.bounds),
            lora_switches=8,
            caches={
                "encodings": CacheCounts(10, 11),
                "prompts": CacheCounts(12, 13),
                "loras": CacheCounts(14, 15),
            },
        ),
        "state": DeviceState(100, 200, ("m", "n")),
    }
    return WorkerSnapshot(**{**fields, **changes})
