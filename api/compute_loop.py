"""What runs in the compute child: messages in, engine steps, messages out."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import cast

import torch
from pydantic import ValidationError

from api.errors import TASK_CANCELED, TASK_GENERATION_FAILED, TASK_IMAGE_UNDECODABLE
from api.media import decode_foreground, decode_reference, encode_png
from api.messages import (
    Add,
    Cancel,
    ImageBytes,
    Progress,
    Ready,
    Start,
    TaskEnded,
    ToChild,
    ToSupervisor,
)
from api.protocol import GenerateBackgroundsRequest
from engine.engine import Engine
from engine.errors import (
    BadImage,
    EngineError,
    GpuOutOfMemory,
    JobError,
    NonFiniteResult,
    PipelineFailed,
)
from engine.events import Event, ImageDone, ImageFailed, JobDone, StepDone
from engine.job import GenerationJob
from engine.registry import load_registry

logger = logging.getLogger(__name__)

_PROGRESS_PERIOD_S = 0.2
# Those of the others name files of this server, which are no business of a caller.
_TOLD = (JobError, NonFiniteResult, GpuOutOfMemory)
PIPELINE_TEXT = "the model cannot paint this image on this server"
WEIGHTS_TEXT = "the model's weights cannot be loaded on this server"
PARAMETERS_TEXT = "the stored parameters cannot be used by this version of the server"


def serve(connection: Connection) -> None:
    """Wait for `Start`, then run tasks for ever.

    Raises:
        EOFError: the supervisor closed the pipe.
        Exception: whatever the engine did not expect. It is not caught here: the child's death
            is the one honest report of a state that nobody can vouch for.
    """
    start = connection.recv()
    assert isinstance(start, Start)
    torch.zeros(1, device=start.device)  # a device that does not work is not ready
    engine = Engine(
        load_registry(start.models_file),
        device=start.device,
        batch_invariant=start.batch_invariant,
        device_bytes=start.device_cache_bytes,
        host_bytes=start.host_cache_bytes,
    )
    ComputeLoop(connection, engine, start).run()


@dataclass(slots=True)
class _Task:
    """What is to be said about a task whose images are in flight."""

    num_images: int
    image_progress: dict[int, float] = field(default_factory=dict)  # image_index to 0..1
    failures: dict[int, EngineError] = field(default_factory=dict)
    next_report_at: float = 0.0


class ComputeLoop:
    """Speaks `api.messages` on one side and `add`, `step`, `cancel` on the other.

    Args:
        connection: to the supervisor.
        engine: idle.
        start: what the supervisor wants.
    """

    def __init__(self, connection: Connection, engine: Engine, start: Start) -> None:
        self._connection = connection
        self._engine = engine
        self._start = start
        self._tasks: dict[str, _Task] = {}

    def run(self) -> None:
        """Serve until the pipe is closed, which raises `EOFError`."""
        self._send(Ready(self._start.device))
        while True:
            # An idle engine waits for a message, a busy one only looks for one between steps.
            while self._connection.poll(0 if self._engine.busy else None):
                self._receive(cast(ToChild, self._connection.recv()))
            for event in self._engine.step():
                self._report(event)

    def _receive(self, message: ToChild) -> None:
        match message:
            case Add():
                self._add(message)
            case Cancel(uid):
                self._cancel(uid)
            case Start():
                raise AssertionError("a child is started once")

    def _add(self, message: Add) -> None:
        try:
            job = self._job(message)
        except BadImage as exc:
            self._end(message.uid, TASK_IMAGE_UNDECODABLE, str(exc))
            return
        except ValidationError as exc:  # stored by a version with other rules
            logger.error("task %s: stored parameters: %s", message.uid, exc)
            self._end(message.uid, TASK_GENERATION_FAILED, PARAMETERS_TEXT)
            return
        try:
            self._engine.add(job)
        except EngineError as exc:
            self._end(message.uid, TASK_GENERATION_FAILED, error_text(message.uid, exc))
            return
        self._tasks[message.uid] = _Task(num_images=job.num_images)

    def _job(self, message: Add) -> GenerationJob:
        request = GenerateBackgroundsRequest.model_validate(message.params)
        max_pixels = self._start.max_image_pixels
        foreground = decode_foreground(
            message.foreground, max_pixels=max_pixels, field="foreground"
        )
        reference = None
        if message.reference is not None:
            reference = decode_reference(
                message.reference, max_pixels=max_pixels, field="reference"
            )
        return request.to_job(job_id=message.uid, foreground=foreground, reference=reference)

    def _cancel(self, uid: str) -> None:
        if self._tasks.pop(uid, None) is not None:  # else its end was already reported
            self._engine.cancel(uid)
            self._end(uid, TASK_CANCELED, "canceled")

    def _report(self, event: Event) -> None:
        task = self._tasks[event.job_id]
        match event:
            case StepDone(uid, image_index, step, num_steps):
                task.image_progress[image_index] = step / num_steps
                self._report_progress(uid, task)
            case ImageDone(uid, result):
                task.image_progress[result.image_index] = 1.0
                parameters = result.parameters if self._start.write_parameters else None
                png = encode_png(
                    result.image, icc_profile=result.icc_profile, parameters=parameters
                )
                size = result.image.size
                self._send(ImageBytes(uid, result.image_index, result.seed, png, *size))
            case ImageFailed(uid, image_index, error):
                task.image_progress[image_index] = 1.0
                task.failures[image_index] = error
            case JobDone(uid):
                del self._tasks[uid]
                if task.failures:
                    self._end(uid, TASK_GENERATION_FAILED, _failures_text(uid, task))
                else:
                    self._end(uid, 0, "")

    def _report_progress(self, uid: str, task: _Task) -> None:
        now = time.monotonic()
        if now >= task.next_report_at:
            task.next_report_at = now + _PROGRESS_PERIOD_S
            progress = sum(task.image_progress.values()) / task.num_images
            self._send(Progress(uid, progress, "denoising"))

    def _end(self, uid: str, error_code: int, error_text: str) -> None:
        self._send(TaskEnded(uid, error_code, error_text))

    def _send(self, message: ToSupervisor) -> None:
        self._connection.send(message)


def error_text(uid: str, error: EngineError) -> str:
    """What the caller of task `uid` is told about `error`; the log is told all."""
    if isinstance(error, _TOLD):
        return str(error)
    logger.error("task %s: %s", uid, error)
    return PIPELINE_TEXT if isinstance(error, PipelineFailed) else WEIGHTS_TEXT


def _failures_text(uid: str, task: _Task) -> str:
    return "; ".join(
        f"image {image_index + 1} of {task.num_images}: {error_text(uid, error)}"
        for image_index, error in sorted(task.failures.items())
    )
