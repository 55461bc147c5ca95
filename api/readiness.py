"""Whether this process should be sent requests, and if not, why."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable

from api.blobs import BlobError, BlobStore
from api.errors import TaskStoreError
from api.instruments.snapshot import read_snapshots, snapshots_folder
from api.settings import Settings
from api.tasks import TaskStore
from engine.errors import EngineError
from engine.registry import load_registry

logger = logging.getLogger(__name__)

PROBE_S = 5.0  # a probe writes to the blob store: not more often, whoever asks

# What the parts say of themselves; never an exception's text, which may hold addresses and names.
REASONS = {
    "store": "the task store does not answer",
    "blobs": "the blob store cannot be written",
    "disk": "free disk space is below min_free_disk_bytes",
    "models": "models.yaml cannot be loaded",
    "workers": "no worker of this server is ready",
    "draining": "the server is being stopped",
}


class Readiness:
    """Looks at all that a new task needs; thread-safe.

    Args:
        settings: of the service.
        store: where tasks lie.
        blobs: where images lie.
        has_disk: whether free disk space is above the floor for new tasks.

    Attributes:
        runs_workers: whether workers belong to this process, so that one must live.
    """

    def __init__(
        self,
        settings: Settings,
        store: TaskStore,
        blobs: BlobStore,
        *,
        has_disk: Callable[[], bool],
    ) -> None:
        self.runs_workers = False
        self._settings = settings
        self._store = store
        self._blobs = blobs
        self._has_disk = has_disk
        self._draining = False
        self._lock = threading.Lock()
        self._probed: dict[str, bool] = {}
        self._probed_until = 0.0

    def drain(self) -> None:
        """The server is being stopped; it is not ready ever after."""
        self._draining = True

    def look(self) -> dict[str, object]:
        """Each part and whether it is fit, the queue's depth, and the reasons against. Blocking."""
        queued = self._depth()
        parts = {
            "store": queued is not None,
            "disk": self._has_disk(),
            **self._probe(),
            "workers": not self.runs_workers or self._has_worker(),
        }
        failing = [name for name, is_fit in parts.items() if not is_fit]
        failing += ["draining"] if self._draining else []
        return {
            "ready": not failing,
            **parts,
            "draining": self._draining,
            "queued": queued,
            "reasons": [REASONS[name] for name in failing],
        }

    def _depth(self) -> int | None:
        try:
            return self._store.depth()
        except TaskStoreError:
            logger.exception("not ready: %s", REASONS["store"])
            return None

    def _probe(self) -> dict[str, bool]:
        with self._lock:
            if time.monotonic() >= self._probed_until:
                self._probed = {
                    "blobs": _works("blobs", self._write_blob),
                    "models": _works("models", lambda: load_registry(self._settings.models)),
                }
                self._probed_until = time.monotonic() + PROBE_S
            return self._probed

    def _write_blob(self) -> None:
        key = f"probe/{secrets.token_hex(8)}"
        self._blobs.put(key, b"probe")
        self._blobs.delete([key])

    def _has_worker(self) -> bool:
        workers = read_snapshots(snapshots_folder(self._settings.data_dir))
        return any(
            each.is_ready and each.parent_pid == os.getpid() and _lives(each.pid)
            for each in workers
        )


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    return True


def _works(name: str, work: Callable[[], object]) -> bool:
    try:
        work()
    except (BlobError, OSError, EngineError):
        logger.exception("not ready: %s", REASONS[name])
        return False
    return True
