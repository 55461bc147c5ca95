"""A blob store for who has something to do while it is slow."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from api.blobs.interface import BlobStore
from api.blobs.relayed import RelayedBlobs

_Result = TypeVar("_Result")


class PatientBlobs(RelayedBlobs):
    """Runs each call of `blobs` on another thread and `meanwhile` on the caller's until it returns.

    An object store may take longer for one image than a lease lasts.

    Args:
        blobs: where the blobs lie.
        meanwhile: called every `period_s` during a call; it must not use this store.
        period_s: how often.
    """

    def __init__(self, blobs: BlobStore, meanwhile: Callable[[], None], *, period_s: float) -> None:
        super().__init__(blobs)
        self._meanwhile = meanwhile
        self._period_s = period_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="blobs")

    def _do(self, call: Callable[[], _Result]) -> _Result:
        future = self._thread.submit(call)
        while wait([future], timeout=self._period_s).not_done:
            self._meanwhile()
        return future.result()
