"""The compute child's sending side: engine events to messages, images to PNG files."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TypeAlias

from api.errors import TASK_CANCELED, TASK_GENERATION_FAILED
from api.instruments.context import about_task
from api.media import encode_png
from api.messages import (
    DENOISING,
    FINISHING,
    EngineReport,
    ImageBytes,
    Loaded,
    PreviewBytes,
    Progress,
    Ready,
    TaskEnded,
    ToSupervisor,
)
from engine.errors import (
    EngineError,
    GpuOutOfMemory,
    JobError,
    NonFiniteResult,
    PipelineFailed,
)
from engine.events import Event, ImageDone, ImageFailed, ImagePreview, JobDone, StepDone
from engine.job import GeneratedImage

logger = logging.getLogger(__name__)

_PROGRESS_PERIOD_S = 0.2
# Those of the others name files of this server, which are no business of a caller.
_TOLD = (JobError, NonFiniteResult, GpuOutOfMemory)
PIPELINE_TEXT = "the model cannot paint this image on this server"
WEIGHTS_TEXT = "the model's weights cannot be loaded on this server"


@dataclass(frozen=True, slots=True)
class _Begun:
    uid: str
    num_images: int


@dataclass(slots=True)
class _Task:
    """What has been said, or is to be said, about a task whose images are in flight."""

    num_images: int
    image_progress: dict[int, float] = field(default_factory=dict)  # image_index to 0..1
    failures: dict[int, EngineError] = field(default_factory=dict)
    stage: str = ""
    next_report_at: float = 0.0


_Item: TypeAlias = "Ready | Loaded | _Begun | Sequence[Event] | TaskEnded | EngineReport"


class Outgoing:
    """Encodes and sends on a thread of its own, everything in the order it was put.

    Args:
        connection: to the supervisor; nobody else sends on it.
        write_parameters: put the generation parameters into each PNG.
        failed: gets what ends the thread, a closed pipe among it; called on the thread.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        write_parameters: bool,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._connection = connection
        self._write_parameters = write_parameters
        self._failed = failed
        self._items: SimpleQueue[_Item] = SimpleQueue()
        self._tasks: dict[str, _Task] = {}  # the thread's own
        self._loaded: tuple[str, ...] = ()
        self._canceled: set[str] = set()  # their images are no longer worth encoding

    def start(self) -> None:
        """Start the thread. It is a daemon: the process does not wait for it."""
        threading.Thread(target=self._run, name="send", daemon=True).start()

    def ready(self, device: str) -> None:
        """The child holds its device."""
        self._items.put(Ready(device))

    def loaded(self, models: tuple[str, ...]) -> None:
        """The device holds these checkpoints; told where they have changed."""
        if models != self._loaded:
            self._loaded = models
            self._items.put(Loaded(models))

    def begin(self, uid: str, num_images: int) -> None:
        """The engine took a task; its events may follow."""
        self._items.put(_Begun(uid, num_images))

    def report(self, events: Sequence[Event]) -> None:
        """What the engine said."""
        if events:
            self._items.put(events)

    def cancel(self, uid: str) -> None:
        """The engine dropped a task at the supervisor's wish; no event of it follows."""
        self._canceled.add(uid)
        self.end(TaskEnded(uid, TASK_CANCELED, "canceled"))

    def end(self, ended: TaskEnded) -> None:
        """A task ended without a word of the engine."""
        self._items.put(ended)

    def count(self, report: EngineReport) -> None:
        """The engine's numbers."""
        self._items.put(report)

    def _run(self) -> None:
        try:
            while True:
                self._send_item(self._items.get())
        except BaseException as exc:
            self._failed(exc)

    def _send_item(self, item: _Item) -> None:
        match item:
            case Ready() | Loaded() | EngineReport():
                self._send(item)
            case _Begun(uid, num_images):
                self._tasks[uid] = _Task(num_images)
            case TaskEnded(uid):
                self._tasks.pop(uid, None)
                self._canceled.discard(uid)
                self._send(item)
            case _:
                for event in item:
                    with about_task(event.job_id):
                        self._send_event(event)

    def _send_event(self, event: Event) -> None:
        uid = event.job_id
        if uid in self._canceled:
            return
        task = self._tasks[uid]
        match event:
            case StepDone(_, image_index, step, num_steps):
                task.image_progress[image_index] = step / num_steps
                self._send_progress(uid, task)
            case ImagePreview(_, image_index, picture):
                png = encode_png(picture, icc_profile=None, parameters=None)
                self._send(PreviewBytes(uid, image_index, png))
            case ImageDone(_, image):
                self._send_image(image)
            case ImageFailed(_, image_index, error):
                task.image_progress[image_index] = 1.0
                task.failures[image_index] = error
                self._send_progress(uid, task)
            case JobDone():
                del self._tasks[uid]
                text = _failures_text(uid, task)
                code = TASK_GENERATION_FAILED if text else 0
                failures = task.failures.values()
                out_of_memory = any(isinstance(each, GpuOutOfMemory) for each in failures)
                self._send(TaskEnded(uid, code, text, out_of_memory))

    def _send_image(self, image: GeneratedImage) -> None:
        parameters = image.parameters if self._write_parameters else None
        png = encode_png(image.image, icc_profile=image.icc_profile, parameters=parameters)
        size = image.image.size
        self._send(ImageBytes(image.job_id, image.image_index, image.seed, png, *size))

    def _send_progress(self, uid: str, task: _Task) -> None:
        """Now and then, but at once when the last step of the last image is done."""
        done = sum(task.image_progress.values())
        stage = FINISHING if done == task.num_images else DENOISING
        now = time.monotonic()
        if stage != task.stage or now >= task.next_report_at:
            task.stage = stage
            task.next_report_at = now + _PROGRESS_PERIOD_S
            self._send(Progress(uid, done / task.num_images, stage))

    def _send(self, message: ToSupervisor) -> None:
        self._connection.send(message)


def error_text(uid: str, error: EngineError) -> str:
    """What the caller of task `uid` is told about `error`; the log is told all."""
    if isinstance(error, _TOLD):
        return str(error)
    logger.error("task %s: %s", uid, error)
    return PIPELINE_TEXT if isinstance(error, PipelineFailed) else WEIGHTS_TEXT


def _failures_text(uid: str, task: _Task) -> str:
    """Empty where nothing failed."""
    return "; ".join(
        f"image {image_index + 1} of {task.num_images}: {error_text(uid, error)}"
        for image_index, error in sorted(task.failures.items())
    )
