"""The disk of the service, which can be filled to the last byte."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

_SIZE_MIB = 384
_BLOCK = 1 << 20


class Disk:
    """A file system in memory of its own, where mounting one is permitted, else just a folder.

    Args:
        folder: where it is mounted; what an earlier run left there is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.can_be_filled = folder.is_mount() or self._mount()
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leaves no byte free."""
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:  # whole blocks, and at last what there is left
                left = shutil.disk_usage(self.folder).free
                if not left or not file.write(bytes(min(_BLOCK, left))):
                    return

    def free(self) -> None:
        """Takes the filling away."""
        self._ballast.unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmounts it; all that lies there is gone."""
        if self.folder.is_mount():
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def _mount(self) -> bool:
        if os.geteuid() != 0 or shutil.which("mount") is None:
            return False
        options = f"size={_SIZE_MIB}m,mode=0755"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
