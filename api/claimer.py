"""When a worker looks into the queue, and how much it takes."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Collection

from api.blobs import BlobStore, BlobUnavailable
from api.errors import StoreUnavailable
from api.messages import FINISHING
from api.publish import RunningTask
from api.settings import Settings
from api.tasks import Claimant, TaskRecord, TaskStore

logger = logging.getLogger(__name__)

MAX_IMAGES_IN_FLIGHT = 16
# Tasks claimed beyond those that may run, so that the step loop finds the next one prepared. It is
# one, since a claimed task is lost to a worker that becomes idle.
CLAIM_AHEAD = 1
# A worker that has tasks waits so long before it takes more: an idle one then comes first.
BUSY_DELAY_S = 0.005
# How long a task may lie in the queue before an idle worker sees it that no news reached. Half to
# once as long, so that many workers do not look at the same time.
POLL_S = 0.5
RETRY_S = 1.0  # after the store did not answer
RESERVE_BYTES = 64 * 2**20  # with less free space no task is started


class Claimer:
    """Takes tasks for one worker, which says when it can run any.

    Args:
        store: whose tasks.
        blobs: must have room for results.
        settings: of the service.
        owner: the worker's name.
    """

    def __init__(self, store: TaskStore, blobs: BlobStore, settings: Settings, owner: str) -> None:
        self._store = store
        self._blobs = blobs
        self._settings = settings
        self._owner = owner
        self._look_at = 0.0  # when the queue is looked into next
        self._paused_until = 0.0

    def claim(self, running: Collection[RunningTask], loaded: Collection[str]) -> list[TaskRecord]:
        """What there is to run beside `running`; nothing while it is not time to look.

        Args:
            running: all tasks in the hands of the worker.
            loaded: checkpoints on its device.
        """
        if self._due_in_s() > 0.0:
            return []
        limit, max_images = self._room(running)
        if limit == 0:
            return []
        claimant = Claimant(self._owner, len(running), max_images, loaded)
        try:
            records = self._store.claim(claimant, limit=limit, lease_s=self._settings.lease_s)
        except StoreUnavailable as exc:
            logger.warning("cannot claim: %s", exc)
            self._look_at = time.monotonic() + RETRY_S
            return []
        delay_s = BUSY_DELAY_S if records else POLL_S * random.uniform(0.5, 1.0)
        self._look_at = time.monotonic() + delay_s
        return records

    def wait_s(self, running: Collection[RunningTask], *, at_most: float) -> float:
        """Until the next look into the queue, if there is room."""
        return min(max(0.0, self._due_in_s()), at_most) if self._room(running)[0] else at_most

    def hear(self, *, is_busy: bool) -> None:
        """There is something new in the queue."""
        delay_s = BUSY_DELAY_S if is_busy else 0.0
        self._look_at = min(self._look_at, time.monotonic() + delay_s)

    def pause(self, duration_s: float) -> None:
        """Claim nothing for a while."""
        self._paused_until = time.monotonic() + duration_s

    def _due_in_s(self) -> float:
        return max(self._look_at, self._paused_until) - time.monotonic()

    def _room(self, tasks: Collection[RunningTask]) -> tuple[int, int]:
        """How many more tasks may be claimed, to run or to be the next to run, and their images.

        A task that needs the step loop no more takes no room there. But so that images do not pile
        up before a slow encoder, no more tasks are being finished than may run.
        """
        max_running = self._settings.max_tasks_per_worker
        running = [task.record for task in tasks if task.progress[1] != FINISHING]
        num_tasks = min(
            max_running + CLAIM_AHEAD - len(running),
            2 * max_running + CLAIM_AHEAD - len(tasks),
            *(task.max_batch - len(tasks) for task in tasks if task.max_batch is not None),
        )
        num_images = MAX_IMAGES_IN_FLIGHT - sum(record.num_images for record in running)
        if num_images <= 0:  # the device is full: at most the next one is fetched
            num_tasks = min(num_tasks, 1 if len(running) <= CLAIM_AHEAD else 0)
        if num_tasks <= 0 or not self._disk_has_room():
            return 0, 0
        return num_tasks, max(1, num_images)

    def _disk_has_room(self) -> bool:
        try:
            free = self._blobs.free_bytes()
        except BlobUnavailable:
            return False
        return free is None or free >= min(RESERVE_BYTES, self._settings.min_free_disk_bytes)
