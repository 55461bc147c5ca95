"""Blobs in a folder of this machine."""

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

from api.blobs.interface import BlobNotFound, BlobUnavailable, DiskFull
from api.blobs.keys import checked_key
from api.durable import make_folder, remove_folder, sync_folder

_TEMPORARY_CHARS = 16
_TEMPORARY = re.compile(rf"\..+\.[0-9a-f]{{{_TEMPORARY_CHARS}}}")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
DEAD_WRITER_S = 24 * 3600.0  # no write takes so long: its process was killed


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
        with _faults_named(f"cannot write {key}"):
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
        path = self._path(key)
        with _faults_named(f"cannot read {key}"):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
                raise BlobNotFound(key) from exc

    def delete(self, keys: Iterable[str]) -> None:
        """See `BlobStore.delete`; what a killed `put` left and empty folders go too."""
        with _faults_named("cannot delete"):
            for key in keys:
                path = self._path(key)
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    for temporary in path.parent.glob(f".{path.name}.{'?' * _TEMPORARY_CHARS}"):
                        temporary.unlink()
                    path.unlink()
                self._prune(path.parent)

    def folders(self, folder: str) -> list[str]:
        """See `BlobStore.folders`."""
        with _faults_named(f"cannot list {folder}"):
            try:
                return [entry.name for entry in os.scandir(self._path(folder)) if entry.is_dir()]
            except FileNotFoundError:
                return []

    def keys(self, folder: str) -> Iterator[str]:
        """See `BlobStore.keys`."""
        for path in self._files(folder):
            if not path.name.startswith("."):
                yield str(path.relative_to(self._root))

    def tidy(self, folder: str) -> None:
        """See `BlobStore.tidy`; empty folders go too."""
        too_old = time.time() - DEAD_WRITER_S
        with _faults_named(f"cannot tidy {folder}"):
            for path in self._files(folder):
                if _TEMPORARY.fullmatch(path.name):
                    with contextlib.suppress(FileNotFoundError):
                        if path.stat().st_mtime < too_old:
                            path.unlink()
            # os.walk bears folders that vanish meanwhile.
            for parent, _, _ in os.walk(self._path(folder), topdown=False):
                self._prune(Path(parent))

    def free_bytes(self) -> int | None:
        """See `BlobStore.free_bytes`: free space of the file system."""
        with _faults_named("cannot tell the free space"):
            return shutil.disk_usage(self._root).free

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    def _files(self, folder: str) -> Iterator[Path]:
        for parent, _, names in os.walk(self._path(folder)):
            yield from (Path(parent, name) for name in names)

    def _prune(self, folder: Path) -> None:
        """Remove `folder` and the folders above it as far as they are empty."""
        for each in (folder, *folder.parents):
            if each == self._root:
                return
            try:
                remove_folder(each)
            except FileNotFoundError:
                continue
            except OSError:  # not empty
                return


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
        # Of a disk gone bad or read-only the first fault is told, not that of cleaning up.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def _faults_named(what: str) -> Iterator[None]:
    """Turns what the file system refuses into the store's own errors."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _NO_ROOM:
            raise DiskFull(f"{what}: no room") from exc
        raise BlobUnavailable(f"{what}: {exc.strerror or exc}") from exc
