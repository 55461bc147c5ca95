"""The one order in which a task is accepted: its images first, then its row."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from api.back_pressure import DISK_FULL
from api.blobs import BlobError, BlobStore, BlobUnavailable, DiskFull
from api.errors import QueueFull, StoreUnavailable
from api.tasks import IdempotencyKey, NewTask, TaskStore

logger = logging.getLogger(__name__)


def store_task(
    store: TaskStore,
    blobs: BlobStore,
    task: NewTask,
    files: Mapping[str, bytes],
    *,
    idempotency_key: IdempotencyKey | None = None,
) -> None:
    """Makes `task` and its images durable, or leaves nothing of either.

    What cannot be deleted for now is swept later as an orphan.

    Args:
        store: takes the task.
        blobs: take the images.
        task: with the keys of its inputs.
        files: role to image, for each of `task.inputs`.
        idempotency_key: see `TaskStore.put`.

    Raises:
        QueueFull: the images cannot be stored for now.
        StoreUnavailable: the row cannot.
        IllegalMove, TooFewCredits, QueueFull: see `TaskStore.put`.
    """
    written: list[str] = []
    try:
        for role, data in files.items():
            blobs.put(task.inputs[role], data)
            written.append(task.inputs[role])
        store.put(task, idempotency_key=idempotency_key)
    except BlobUnavailable as exc:
        logger.warning("a task is turned away: %s", exc)
        _forget(blobs, written)
        raise (QueueFull(DISK_FULL) if isinstance(exc, DiskFull) else QueueFull()) from exc
    except StoreUnavailable:
        if not _may_be_stored(store, task.uid):
            _forget(blobs, written)
        raise
    except BaseException:
        _forget(blobs, written)
        raise


def _may_be_stored(store: TaskStore, uid: str) -> bool:
    """A commit whose answer got lost looks like one that failed, but the task will be run."""
    try:
        return store.get(uid) is not None
    except StoreUnavailable:
        return True


def _forget(blobs: BlobStore, keys: Sequence[str]) -> None:
    try:
        blobs.delete(keys)
    except BlobError as exc:
        logger.warning("cannot delete the images of a task that was not accepted: %s", exc)
