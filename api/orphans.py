"""Blobs that no task refers to: what crashes, and deletions that failed, left behind.

Every blob's key names its day and its task. Whole days are looked through once they are older than
images are kept, by one worker at a time; a blob goes if its task is not stored or has given its
images up. So neither an upload under way (its row is not there yet, but its day is today) nor a
task that waited for long loses an image.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from sqlalchemy import Float, cast, select, update

from api.blobs import BlobError, BlobStore
from api.blobs.keys import KINDS, day_of, uid_of
from api.database import Database, insert_if_absent
from api.errors import TaskStoreError
from api.schema import meta, tasks

logger = logging.getLogger(__name__)

PERIOD_S = 3600.0
MARGIN_S = 24 * 3600.0
LOOK_S = 60.0
_BATCH = 500
_LAST_SWEEP = "orphans_swept_at"


class OrphanSweeper:
    """Deletes orphans, about every hour over all workers of a store.

    Args:
        database: of the task store.
        blobs: what is swept.
        images_keep_s: how long images of an ended task are kept.
    """

    def __init__(self, database: Database, blobs: BlobStore, *, images_keep_s: float) -> None:
        self._database = database
        self._blobs = blobs
        self._keep_s = images_keep_s + MARGIN_S
        self._stopped = threading.Event()

    def start(self) -> None:
        """Sweep on a thread of its own, since a large store takes long, until `stop`."""
        threading.Thread(target=self._run, name="orphans", daemon=True).start()

    def stop(self) -> None:
        """Have the thread end soon."""
        self._stopped.set()

    def sweep_if_due(self) -> int:
        """Sweep unless a worker did within the hour; the number of blobs deleted.

        Raises:
            BlobError: the blob store does not answer.
            TaskStoreError: the task store does not.
        """
        return self.sweep() if take_turn(self._database, period_s=PERIOD_S) else 0

    def sweep(self) -> int:
        """Sweep all days that are old enough. Raises like `sweep_if_due`."""
        last_day = day_of(time.time() - self._keep_s)
        num_deleted = 0
        for kind in KINDS:
            for day in sorted(self._blobs.folders(kind)):
                if day.isdigit() and day < last_day:
                    num_deleted += self._sweep_day(f"{kind}/{day}")
        if num_deleted:
            logger.warning("deleted %d blobs that no task refers to", num_deleted)
        return num_deleted

    def _sweep_day(self, folder: str) -> int:
        num_deleted = 0
        for keys in _batches(self._blobs.keys(folder)):
            if self._stopped.is_set():
                return num_deleted
            uids = {key: uid_of(key) for key in keys}
            kept = keepers(self._database, {uid for uid in uids.values() if uid is not None})
            orphans = [key for key, uid in uids.items() if uid is not None and uid not in kept]
            self._blobs.delete(orphans)
            num_deleted += len(orphans)
        self._blobs.tidy(folder)
        return num_deleted

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_S):
            try:
                self.sweep_if_due()
            except (BlobError, TaskStoreError) as exc:
                logger.warning("orphans are not swept for now: %s", exc)


def keepers(database: Database, uids: Iterable[str]) -> set[str]:
    """Those of `uids` whose task is stored and still has images. At most some hundred at once."""
    query = select(tasks.c.uid).where(tasks.c.uid.in_(list(uids)), ~tasks.c.images_purged)
    with database.read() as connection:
        return set(connection.scalars(query))


def take_turn(database: Database, *, period_s: float) -> bool:
    """Whether the last turn of any worker is `period_s` ago; if so, this is the next one."""
    now = database.now
    due = cast(meta.c.value, Float) <= now - period_s
    with database.write() as connection:
        insert_if_absent(connection, _LAST_SWEEP, "0")
        row = update(meta).where(meta.c.name == _LAST_SWEEP, due)
        return connection.execute(row.values(value=cast(now, meta.c.value.type))).rowcount == 1


def _batches(keys: Iterator[str]) -> Iterator[Sequence[str]]:
    """Lists of at most `_BATCH`; a store is listed while it is swept."""
    while batch := list(islice(keys, _BATCH)):
        yield batch
