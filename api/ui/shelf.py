"""Files of the page: uploads, results and requests, in an owner-only folder that cleans itself."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import time
from pathlib import Path

MAX_BYTES = 4 * 2**30


class Shelf:
    """A folder of this process below one that all processes on a data folder share.

    Args:
        root: the shared one; made if it is not there.
        keep_s: older files are removed, also those that a killed process left.
        max_bytes: with more below `root` no uploads are taken.
    """

    def __init__(self, root: Path, *, keep_s: float, max_bytes: int = MAX_BYTES) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = root.resolve()
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self.folder = Path(tempfile.mkdtemp(dir=self._root))

    def put(self, name: str, data: bytes) -> Path:
        """Write a file under a folder of its own that nobody can guess."""
        path = self.new_folder() / name
        path.write_bytes(data)
        return path

    def new_folder(self) -> Path:
        """A folder that nobody can guess, for files that belong together."""
        path = self.folder / secrets.token_hex(16)
        path.mkdir(mode=0o700)
        return path

    def has_room(self) -> bool:
        """Whether more may be uploaded, once everything old is gone."""
        oldest = time.time() - self._keep_s
        num_bytes = 0
        for path in list(self._root.rglob("*")):
            with contextlib.suppress(OSError):  # others tidy too; a folder in use is not empty
                state = path.stat()
                if path.is_dir():
                    if state.st_mtime < oldest and path.parent != self._root:
                        path.rmdir()
                elif state.st_mtime < oldest:
                    path.unlink()
                else:
                    num_bytes += state.st_size
        return num_bytes < self._max_bytes
