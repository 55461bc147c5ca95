"""Folders that survive a power cut: each new one is private and its entry is on the disk."""

from __future__ import annotations

import os
import threading
from pathlib import Path

_MAX_REMEMBERED = 10_000

# Whoever made a folder may be between making and syncing it, or may have been killed there. So a
# folder counts only once this process has synced its entry, and one thread at a time does that.
_lock = threading.Lock()
_durable: set[Path] = set()


def sync_folder(folder: Path) -> None:
    """Wait until the entries of `folder` (new, renamed and removed names) are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make `folder` and its missing parents, owner-only (0700), each synced into its parent.

    A folder that exists already keeps its mode: it may be one the operator shares on purpose. Its
    entry is synced all the same, once per process, where this process could have made it.
    """
    with _lock:
        _make(folder.absolute())


def remove_folder(folder: Path) -> None:
    """Remove an empty folder.

    Raises:
        OSError: it is not empty, or not there.
    """
    with _lock:
        folder.rmdir()
        _durable.discard(folder.absolute())


def _make(folder: Path) -> None:
    exists = folder.is_dir()
    if (exists and folder in _durable) or folder == folder.parent:
        return
    _make(folder.parent)
    if not exists:
        folder.mkdir(mode=0o700, exist_ok=True)
    if not exists or os.access(folder.parent, os.R_OK | os.W_OK):
        sync_folder(folder.parent)
    if len(_durable) >= _MAX_REMEMBERED:
        _durable.clear()  # costs a few syncs
    _durable.add(folder)
