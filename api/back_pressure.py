"""Whether one more task is taken: before anything of it is decoded, and never afterwards."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from api.blobs import BlobStore, BlobUnavailable
from api.errors import QueueFull
from api.settings import Settings
from api.tasks import Backlog, NewTask, TaskStore

CACHE_S = 1.0
DISK_FULL = "The disk is full, try again later"
QUEUE_FULL = "The queue is full, try again later"


class BackPressure:
    """The limits on what waits, of the service and of a key. Safe from any thread.

    What waits in all is counted once in a second, since to count it takes as long as the queue is;
    what this process added since is known. Further API processes may so let a second's worth of
    tasks pass a limit. A key's own limit is exact: the store checks it again as it stores the task.

    Args:
        store: whose queue it is.
        blobs: where inputs and results need room.
        settings: the limits.
    """

    def __init__(self, store: TaskStore, blobs: BlobStore, settings: Settings) -> None:
        self._store = store
        self._blobs = blobs
        self._settings = settings
        self._lock = threading.Lock()
        self._backlog = Backlog(num_queued=0, est_cost=0.0, num_devices=0)
        self._counted_at = -CACHE_S

    def require_room(self, tenant: str) -> None:
        """Let a request of `tenant` pass.

        Raises:
            QueueFull: the queue, the key's share of it or the disk is full.
        """
        backlog = self._current()
        limit = self._settings.max_queued_cost_per_device * max(1, backlog.num_devices)
        if backlog.num_queued >= self._settings.max_queued_tasks or backlog.est_cost >= limit:
            raise QueueFull(QUEUE_FULL)
        self._store.require_place(tenant=tenant)
        if not self.has_disk():
            raise QueueFull(DISK_FULL)

    def has_disk(self) -> bool:
        """Whether free disk space is above the floor for new tasks; an unknown one is."""
        try:
            free_bytes = self._blobs.free_bytes()
        except BlobUnavailable:
            return False
        return free_bytes is None or free_bytes >= self._settings.min_free_disk_bytes

    def added(self, task: NewTask) -> None:
        """Count a task that this process has stored."""
        with self._lock:
            self._backlog = replace(
                self._backlog,
                num_queued=self._backlog.num_queued + 1,
                est_cost=self._backlog.est_cost + task.est_cost,
            )

    def _current(self) -> Backlog:
        now = time.monotonic()
        with self._lock:
            if now - self._counted_at < CACHE_S:
                return self._backlog
        backlog = self._store.backlog()
        with self._lock:
            self._backlog, self._counted_at = backlog, now
            return backlog
