"""What blob stores that stand before another one have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from api.blobs.interface import BlobStore

_Result = TypeVar("_Result")


class RelayedBlobs(ABC):
    """Has every call that may take its time done by `_do`.

    Args:
        blobs: where the blobs lie.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

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

    @abstractmethod
    def _do(self, call: Callable[[], _Result]) -> _Result:
        """The result of `call`, which uses the store behind."""
