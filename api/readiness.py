"""Whether this process should be sent requests, and if not, why."""

from __future__ import annotations

import logging
import math
import os
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait

from api.blobs import BlobError, BlobStore
from api.errors import TaskStoreError
from api.instruments.snapshot import read_snapshots, snapshots_folder
from api.outage import one_line, warn_of
from api.settings import Settings
from api.tasks import TaskStore
from engine.errors import EngineError
from engine.registry import load_registry

logger = logging.getLogger(__name__)

PROBE_S = 5.0  # a probe writes to the blob store: not more often, whoever asks
ANSWER_S = 2.0  # who asks is patient for some seconds: Kubernetes for one, our manifests for four

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
        self._probes = [
            _Probe("blobs", self._write_blob),
            _Probe("models", lambda: load_registry(settings.models)),
        ]

    def drain(self) -> None:
        """The server is being stopped; it is not ready ever after."""
        self._draining = True

    def look(self) -> dict[str, object]:
        """Each part and whether it is fit, the queue's depth, and the reasons against. Blocking."""
        queued = self._depth()
        parts = {
            "store": queued is not None,
            "disk": self._has_disk(),
            **{probe.name: probe.is_fit() for probe in self._probes},
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
        except TaskStoreError as exc:
            warn_of(logger, f"not ready: {REASONS['store']}", exc)
            return None

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


class _Probe:
    """Looks at one part, at most every `PROBE_S` and on a thread of its own.

    A part that has not answered within `ANSWER_S` is unfit, and until it has answered nobody waits
    for it any more.

    Args:
        name: of the part.
        work: what a fit part does without an error.
    """

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self.name = name
        self._work = work
        self._lock = threading.Lock()
        self._outcome: Future[bool] = Future()
        self._outcome.set_result(True)
        self._begun_at = -math.inf
        self._was_fit = True

    def is_fit(self) -> bool:
        """What the last look found; waits for it for `ANSWER_S` from its beginning."""
        with self._lock:
            if self._outcome.done() and time.monotonic() >= self._begun_at + PROBE_S:
                self._begin()
            outcome, left_s = self._outcome, self._begun_at + ANSWER_S - time.monotonic()
        if wait([outcome], timeout=max(0.0, left_s)).done:
            return outcome.result()
        self._tell_unfit(f"no answer within {ANSWER_S:g} s")
        return False

    def _begin(self) -> None:
        begun_at, outcome = time.monotonic(), Future[bool]()
        thread = threading.Thread(target=self._look, args=(outcome,), name="probe", daemon=True)
        thread.start()
        self._begun_at, self._outcome = begun_at, outcome

    def _look(self, outcome: Future[bool]) -> None:
        try:
            self._work()
        except (BlobError, OSError, EngineError) as exc:
            self._tell_unfit(one_line(exc))
            outcome.set_result(False)
        except BaseException as exc:
            outcome.set_exception(exc)
        else:
            self._was_fit = True
            outcome.set_result(True)

    def _tell_unfit(self, why: str) -> None:
        """In the log, once until the part is fit again."""
        if self._was_fit:
            self._was_fit = False
            logger.warning("not ready: %s: %s", REASONS[self.name], why)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    return True
