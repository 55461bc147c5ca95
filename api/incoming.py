"""The compute child's receiving side: what the step loop is asked to do, ready when it looks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import cast

from pydantic import ValidationError

from api.errors import TASK_CANCELED, TASK_GENERATION_FAILED, TASK_IMAGE_UNDECODABLE
from api.instruments.context import about_task
from api.media import decode_foreground, decode_reference
from api.messages import Add, Cancel, Start, TaskEnded, ToChild
from api.prompts_used import stored_prompts_used
from api.protocol import GenerateBackgroundsRequest
from engine.errors import BadImage
from engine.job import GenerationJob

logger = logging.getLogger(__name__)

PARAMETERS_TEXT = "the stored parameters cannot be used by this version of the server"


class Incoming:
    """Receives messages on one thread and decodes uploads on another.

    So a message never waits for a step, a cancel never for the decoding of another task's images,
    and the step loop for neither.

    Args:
        connection: to the supervisor; nobody else receives from it.
        max_image_pixels: an image that declares more is refused.
        ended: told of a task that does not get as far as the step loop; called on both threads.
        wake: called whenever there is something to take; likewise.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        max_image_pixels: int,
        ended: Callable[[TaskEnded], None],
        wake: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._max_image_pixels = max_image_pixels
        self._ended = ended
        self._wake = wake
        self._ready: SimpleQueue[GenerationJob | Cancel | BaseException] = SimpleQueue()
        self._uploads: SimpleQueue[Add] = SimpleQueue()
        self._undecoded: set[str] = set()
        self._lock = threading.Lock()  # guards `_undecoded` and who goes first into `_ready`

    def start(self) -> None:
        """Start both threads. They are daemons: the process does not wait for them."""
        for work in (self._receive, self._decode):
            threading.Thread(
                target=self._guarded, args=(work,), name=work.__name__, daemon=True
            ).start()

    def take(self) -> list[GenerationJob | Cancel]:
        """What has come since the last call, in order; a task that is cancelled came before.

        Raises:
            EOFError: the supervisor closed the pipe.
            Exception: whatever else ended a thread.
        """
        taken: list[GenerationJob | Cancel] = []
        while True:
            try:
                item = self._ready.get_nowait()
            except Empty:
                return taken
            if isinstance(item, BaseException):
                raise item
            taken.append(item)

    def fail(self, exc: BaseException) -> None:
        """Have the next `take` raise `exc`."""
        self._ready.put(exc)
        self._wake()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as exc:
            self.fail(exc)

    def _receive(self) -> None:
        while True:
            match cast(ToChild, self._connection.recv()):
                case Add() as add:
                    with self._lock:
                        self._undecoded.add(add.uid)
                    self._uploads.put(add)
                case Cancel() as cancel:
                    self._cancel(cancel)
                case Start():
                    raise AssertionError("a child is started once")

    def _cancel(self, cancel: Cancel) -> None:
        with self._lock:
            if cancel.uid not in self._undecoded:
                self._ready.put(cancel)
                self._wake()
                return
            self._undecoded.remove(cancel.uid)
        self._ended(TaskEnded(cancel.uid, TASK_CANCELED, "canceled"))

    def _decode(self) -> None:
        while True:
            add = self._uploads.get()
            if add.uid not in self._undecoded:  # cancelled
                continue
            with about_task(add.uid):
                outcome = self._job(add)
            with self._lock:
                if add.uid not in self._undecoded:
                    continue
                self._undecoded.remove(add.uid)
                if isinstance(outcome, GenerationJob):
                    self._ready.put(outcome)
                    self._wake()
                    continue
            self._ended(outcome)

    def _job(self, add: Add) -> GenerationJob | TaskEnded:
        """The task as the engine takes it, or why it cannot be run."""
        max_pixels = self._max_image_pixels
        try:
            sent = GenerateBackgroundsRequest.model_validate(add.params)
            request = stored_prompts_used(add.params).in_place(sent)
            foreground = decode_foreground(
                add.foreground, max_pixels=max_pixels, field="foreground"
            )
            reference = None
            if add.reference is not None:
                reference = decode_reference(
                    add.reference, max_pixels=max_pixels, field="reference"
                )
            return request.to_job(job_id=add.uid, foreground=foreground, reference=reference)
        except BadImage as exc:
            return TaskEnded(add.uid, TASK_IMAGE_UNDECODABLE, str(exc))
        except ValidationError as exc:  # stored by a version with other rules
            logger.error("task %s: stored parameters: %s", add.uid, exc)
            return TaskEnded(add.uid, TASK_GENERATION_FAILED, PARAMETERS_TEXT)
