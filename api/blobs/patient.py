"""A blob store for who has something to do while it is slow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from api.blobs.interface import BlobStore

_Result = TypeVar("_Result")


class PatientBlobs:
    """Runs each call of `blobs` on another thread and `meanwhile` on the caller's until it returns.

    An object store may take longer for one image than a lease lasts.

    Args:
        blobs: where the blobs lie.
        meanwhile: called every `period_s` during a call; it must not use this store.
        period_s: how often.
    """

    def __init__(self, blobs: BlobStore, meanwhile: Callable[[], None], *, period_s: float) -> None:
        self._blobs = blobs
        self._meanwhile = meanwhile
        self._period_s = period_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="blobs")

    def put(self, key: str, data: bytes) -> None:
        """See `BlobStore.put`."""
        self._do(lambda: self._blobs.put(key, data))

    def get(self, key: str) -> bytes:
        """See `BlobStore.get`."""
        return self._do(lambda: self._blobs.get(key))

    def delete(self, keys: Iterable[str]) -> None:
        """See `BlobStore.delete`."""
        self._do(lambda: self._blobs.delete(keys))

    def folders(self, folder: str) -> list[str]:
        """See `BlobStore.folders`."""
        return self._do(lambda: self._blobs.folders(folder))

    def keys(self, folder: str) -> Iterator[str]:
        """See `BlobStore.keys`."""
        return iter(self._do(lambda: list(self._blobs.keys(folder))))

    def tidy(self, folder: str) -> None:
        """See `BlobStore.tidy`."""
        self._do(lambda: self._blobs.tidy(folder))

    def free_bytes(self) -> int | None:
        """See `BlobStore.free_bytes`: quick everywhere."""
        return self._blobs.free_bytes()

    def _do(self, call: Callable[[], _Result]) -> _Result:
        future = self._thread.submit(call)
        while wait([future], timeout=self._period_s).not_done:
            self._meanwhile()
        return future.result()
