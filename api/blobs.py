"""Where image bytes lie: the interface of every blob store, and the local folder.

BlobError
  BlobNotFound    no blob of that key
  InvalidBlobKey  the key could leave the store
  DiskFull        no room; nothing was written
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from api.durable import make_folder, remove_folder, sync_folder
from api.settings import Settings

_PART = r"[0-9A-Za-z_-][0-9A-Za-z._-]*"  # no leading dot: neither "..", nor our temporary files
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_TEMPORARY_CHARS = 16
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class BlobError(Exception):
    """Base of what a blob store raises on purpose."""


class BlobNotFound(BlobError):
    """No blob of that key."""


class InvalidBlobKey(BlobError, ValueError):
    """Not a relative path of plain names."""


class DiskFull(BlobError):
    """No room for the blob; the store is as it was before."""


class BlobStore(Protocol):
    """Bytes by key. Blocking: call it off the event loop. Safe from any thread and process."""

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

    def free_bytes(self) -> int | None:
        """Room left; None where it is not known or does not end."""
        ...


def input_key(uid: str, role: str) -> str:
    """Key of an uploaded image; `role` is "foreground" or "reference".

    Tasks share 32 folders a day, by the first character of their uid: a folder of its own would be
    most of what a queued task takes on the disk, and two more syncs before it is accepted.
    """
    return f"in/{_day(time.time())}/{uid[0]}/{uid}.{role}"


def output_key(uid: str, token: int, index: int, *, created_at: float | None = None) -> str:
    """Key of image `index` made under lease `token`: attempts never overwrite each other.

    Args:
        uid: of the task.
        token: of the lease.
        index: 0-based position of the image.
        created_at: Unix seconds of the task's creation, so that the key can be told from the
            record alone; None for now.
    """
    day = _day(time.time() if created_at is None else created_at)
    return f"out/{day}/{uid}/t{token}/{index}.png"


def _day(unix_s: float) -> str:
    return time.strftime("%Y%m%d", time.gmtime(unix_s))


class LocalBlobs:
    """Blobs as owner-only files under one folder.

    A blob is written to a temporary file, synced, renamed and its folder synced: after a power
    cut it is whole or absent.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        make_folder(self._root)

    def put(self, key: str, data: bytes) -> None:
        """See `BlobStore.put`."""
        path = self._path(key)
        with _disk_full_named(key):
            for is_last in (False, False, True):
                try:
                    make_folder(path.parent)
                    _write_durably(path, data)
                    break
                except FileNotFoundError:  # a `delete` took the folder, or the file under way
                    if is_last:
                        raise

    def get(self, key: str) -> bytes:
        """See `BlobStore.get`."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
            raise BlobNotFound(key) from exc

    def delete(self, keys: Iterable[str]) -> None:
        """See `BlobStore.delete`; what a killed `put` left and empty folders go too."""
        for key in keys:
            path = self._path(key)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for temporary in path.parent.glob(f".{path.name}.{'?' * _TEMPORARY_CHARS}"):
                    temporary.unlink()
                path.unlink()
            for folder in path.parents:
                if folder == self._root:
                    break
                try:
                    remove_folder(folder)
                except FileNotFoundError:
                    continue
                except OSError:  # not empty
                    break

    def free_bytes(self) -> int | None:
        """See `BlobStore.free_bytes`: free space of the file system."""
        return shutil.disk_usage(self._root).free

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise InvalidBlobKey(f"{key!r} is no blob key")
        return self._root / key


def open_blobs(settings: Settings) -> BlobStore:
    """The blob store that the settings name: a folder of the data folder."""
    return LocalBlobs(settings.data_dir / "blobs")


def _write_durably(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(_TEMPORARY_CHARS // 2)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def _disk_full_named(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in _NO_ROOM:
            raise DiskFull(f"no room for {key}") from exc
        raise
