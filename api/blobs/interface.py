"""What every blob store does and raises.

::

    BlobError
      BlobNotFound       no blob of that key
      InvalidBlobKey     the key could leave the store
      BlobUnavailable    the store does not answer or refuses: try again later
        DiskFull         no room; nothing was written
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol


class BlobError(Exception):
    """Base of what a blob store raises on purpose."""


class BlobNotFound(BlobError):
    """No blob of that key."""


class InvalidBlobKey(BlobError, ValueError):
    """Not a relative path of plain names."""


class BlobUnavailable(BlobError):
    """The store cannot do this for now. What a `put` was to store may be there or not."""


class DiskFull(BlobUnavailable):
    """No room for the blob; the store is as it was before."""


class BlobStore(Protocol):
    """Bytes by key. Blocking: call it off the event loop. Safe from any thread and process.

    Every method raises `BlobUnavailable` where the store does not do its work in bounded time.
    """

    def put(self, key: str, data: bytes) -> None:
        """Store `data`, replacing what was there. When this returns, it survives a power cut.

        Raises:
            DiskFull: no room.
        """
        ...

    def get(self, key: str) -> bytes:
        """The bytes stored under `key`.

        Raises:
            BlobNotFound: there are none.
        """
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Forget these keys; those that are not there are fine."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in `folder`; none where it does not exist."""
        ...

    def keys(self, folder: str) -> Iterator[str]:
        """Keys below `folder`, at any depth; a blob that comes or goes meanwhile may be missed."""
        ...

    def tidy(self, folder: str) -> None:
        """Remove from below `folder` whatever is no blob: what killed writers left behind."""
        ...

    def free_bytes(self) -> int | None:
        """Room left; None where it is not known or does not end."""
        ...
