"""The product's compute child, spoken to as its supervisor does, with the time of every message."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from api.child import COMPUTE_COMMAND, ChildProcess, Gone, Inbox
from api.messages import Add, Cancel, Progress, Ready, Start, TaskEnded, ToSupervisor
from api.process import num_cores
from api.protocol import GenerateBackgroundsRequest
from scripts.benchmark.client import PATIENCE_S
from scripts.benchmark.shapes import MODEL_NAME, MODELS_FILE
from scripts.benchmark.workload import Request


@dataclass(frozen=True, slots=True)
class Heard:
    """A report of progress and when it came, by the monotonic clock."""

    message: Progress
    at: float


class ComputeChild:
    """A child at work; a context manager that ends it. Use it in the main thread.

    Args:
        folder: with models.yaml.
        device: torch device.
    """

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        self._inbox: Inbox = queue.SimpleQueue()
        self._child = ChildProcess(COMPUTE_COMMAND, self._inbox, num_threads=num_cores())
        self._child.send(
            Start(
                models_file=folder / MODELS_FILE,
                device=device,
                batch_invariant=False,
                write_parameters=True,
                max_image_pixels=64_000_000,
            )
        )
        while not isinstance(self._next(), Ready):
            pass

    def __enter__(self) -> ComputeChild:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._child.close()

    def add(self, uid: str, request: Request) -> None:
        """Hands a task over, as it would lie in the store."""
        fields = GenerateBackgroundsRequest.model_validate(request.fields)
        resolved = fields.resolved(
            default_model=MODEL_NAME, default_canvas=(request.side_px, request.side_px)
        )
        self._child.send(Add(uid, resolved.stored(), request.png, None))

    def cancel(self, uid: str) -> None:
        """Stops a task and waits until it has ended."""
        self._child.send(Cancel(uid))
        while True:
            match self._next():
                case TaskEnded(ended) if ended == uid:
                    return

    def until_progress(self, uid: str) -> Heard:
        """Waits for the task's next report of progress."""
        while True:
            match self._next():
                case Progress(told) as message if told == uid:
                    return Heard(message, time.monotonic())
                case TaskEnded(ended, code, text) if ended == uid:
                    raise RuntimeError(f"task {uid} ended early: {code} {text}")

    def _next(self) -> ToSupervisor:
        item = self._inbox.get(timeout=PATIENCE_S)
        assert item is not None
        _, message = item
        if isinstance(message, Gone):
            raise RuntimeError("the compute child died")
        return message
