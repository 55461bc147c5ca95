"""A task at a worker: what it is made from, and how its images and its end reach the stores."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from api.blobs import BlobError, BlobStore, output_key
from api.errors import TASK_CANCELED, TASK_GENERATION_FAILED, LeaseLost
from api.instruments.context import about_task
from api.messages import Add, ImageBytes, TaskEnded
from api.tasks import Lease, TaskOutput, TaskRecord, TaskStatus, TaskStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GiveBack:
    """An end without a result: the task is run again, see `TaskStore.release`."""

    crashed: bool
    delay_s: float = 0.0
    max_batch: int | None = None


Ending: TypeAlias = TaskEnded | GiveBack


@dataclass(slots=True)
class RunningTask:
    """A task this worker holds the lease of, and what there is of its result.

    Attributes:
        previews: PNG files by image_index, the latest of each image.
        has_new_previews: whether some of them are not stored yet.
        most_running: tasks that shared the device with it at most, itself included.
        stop_reason: why the worker had it stopped; "" where it did not, or its caller did.
    """

    record: TaskRecord
    lease: Lease
    outputs: list[TaskOutput] = field(default_factory=list)
    progress: tuple[float, str] = (0.0, "")
    previews: dict[int, bytes] = field(default_factory=dict)
    has_new_previews: bool = False
    cancel_sent: bool = False
    started_at: float = field(default_factory=time.monotonic)
    most_running: int = 1
    stop_reason: str = ""

    @property
    def uid(self) -> str:
        """Of the task."""
        return self.record.uid

    @property
    def max_batch(self) -> int | None:
        """How many tasks may share the device with it, itself included; None for any number."""
        return 1 if self.record.solo else self.record.max_batch

    def show(self, image_index: int, png: bytes) -> None:
        """Keep the preview of an image until the next heartbeat, and with those of the others."""
        self.previews[image_index] = png
        self.has_new_previews = True

    def ending(self, ended: TaskEnded) -> Ending:
        """What becomes of it: not always what the child says.

        Where memory ran out beside others it is run again in a smaller company, at last alone.
        """
        if ended.out_of_memory and self.most_running > 1:
            return GiveBack(crashed=False, max_batch=self.most_running // 2)
        if ended.error_code == TASK_CANCELED and self.stop_reason:
            return TaskEnded(self.uid, TASK_GENERATION_FAILED, self.stop_reason)
        return ended


def order_of(record: TaskRecord, blobs: BlobStore) -> Add:
    """What the compute child is told of a claimed task.

    Raises:
        KeyError, BlobError: an input image is missing.
        OSError: one cannot be read.
    """
    reference = record.inputs.get("reference")
    return Add(
        uid=record.uid,
        params=record.params,
        foreground=blobs.get(record.inputs["foreground"]),
        reference=None if reference is None else blobs.get(reference),
    )


class Publisher:
    """Brings results into the blob store and ends into the task store.

    Every method that speaks to the store raises `StoreUnavailable` where it does not answer; then
    nothing has happened that a second call would spoil.
    """

    def __init__(self, store: TaskStore, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs

    def write_image(self, task: RunningTask, image: ImageBytes) -> None:
        """Store an image under this lease's own key, seen by nobody yet.

        Raises:
            BlobUnavailable: it cannot be written for now.
        """
        record = task.record
        output = TaskOutput(
            image_index=image.image_index,
            blob_key=output_key(
                record.uid, record.token, image.image_index, created_at=record.created_at
            ),
            sha256=hashlib.sha256(image.png).hexdigest(),
            mime="image/png",
            width_px=image.width_px,
            height_px=image.height_px,
            size_bytes=len(image.png),
            seed=image.seed,
        )
        self._blobs.put(output.blob_key, image.png)
        task.outputs.append(output)

    def store_ending(self, task: RunningTask, ending: Ending) -> TaskStatus | None:
        """Tell the store how the task ended; images that are not published are deleted.

        Returns:
            The status now; None where the lease was lost and the store took nothing.
        """
        with about_task(task.uid):
            try:
                status, published = self._move(task, ending)
            except LeaseLost:
                logger.warning("task %s: lost to another worker, result dropped", task.uid)
                self.drop_images(task)
                return None
            if not published:
                self._delete(output.blob_key for output in task.outputs)
            return status

    def drop_images(self, task: RunningTask) -> None:
        """Delete the images of a lost lease.

        Those the record lists stay: a commit whose answer got lost also looks like a lost lease.
        """
        keys = {output.blob_key for output in task.outputs}
        self._delete(keys - _published(self._store.get(task.uid)))

    def sweep(self) -> list[TaskRecord]:
        """Requeue or end what dead workers left, and delete the images of their attempts.

        Returns:
            The tasks as they are now.
        """
        swept = []
        for uid in self._store.sweep():
            record = self._store.get(uid)
            logger.warning("task %s: swept, now %s", uid, record.status if record else "forgotten")
            if record is not None:
                self._delete(_dead_keys(record))
                swept.append(record)
        return swept

    def purge(self, *, limit: int) -> int:
        """Delete images past their time; how many tasks that touched, at most `limit`."""
        purged = self._store.purge(limit=limit)
        self._delete(key for task in purged for key in task.blob_keys)
        return len(purged)

    def _move(self, task: RunningTask, ending: Ending) -> tuple[TaskStatus, bool]:
        """Make the state change; the new status, and whether the task's images are published."""
        uid, lease = task.uid, task.lease
        match ending:
            case GiveBack(crashed, delay_s, max_batch):
                status = self._store.release(
                    lease, crashed=crashed, delay_s=delay_s, max_batch=max_batch
                )
                beside = "" if max_batch is None else f", to run as one of {max_batch}"
                logger.info("task %s: given back, now %s%s", uid, status, beside)
                return status, False
            case TaskEnded(error_code=code) if code == TASK_CANCELED:
                self._store.end_canceled(lease)
                logger.info("task %s: canceled", uid)
                return TaskStatus.CANCELED, False
            case TaskEnded(error_code=0) if len(task.outputs) == task.record.num_images:
                self._store.finish(lease, task.outputs)
                logger.info("task %s: finished", uid)
                return TaskStatus.SUCCEEDED, True
        code, text = ending.error_code, ending.error_text
        if code == 0:  # a success that is not there
            code = TASK_GENERATION_FAILED
            text = f"only {len(task.outputs)} of {task.record.num_images} images were made"
        self._store.fail(lease, error_code=code, error_text=text, outputs=task.outputs)
        logger.warning("task %s: failed (%d): %s", uid, code, text)
        return TaskStatus.FAILED, True

    def _delete(self, blob_keys: Iterable[str]) -> None:
        try:
            self._blobs.delete(blob_keys)
        except BlobError:
            logger.exception("cannot delete blobs: swept later as orphans")


def _published(record: TaskRecord | None) -> set[str]:
    return {output.blob_key for output in record.outputs} if record else set()


def _dead_keys(record: TaskRecord) -> set[str]:
    """Keys that unpublished images of the task's ended attempts would have."""
    last_token = record.token - 1 if record.status is TaskStatus.RUNNING else record.token
    return {
        output_key(record.uid, token, index, created_at=record.created_at)
        for token in range(1, last_token + 1)
        for index in range(record.num_images)
    } - _published(record)
