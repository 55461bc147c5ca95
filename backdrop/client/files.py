"""Result images as files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from backdrop.client.replies import Task


def write_files(task: Task, files: Iterable[bytes], folder: Path) -> list[Path]:
    """Write <TaskUID>-<index>.png for each of `files`; their paths.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, data in enumerate(files):
        path = folder / f"{task.uid}-{index}.png"
        path.write_bytes(data)
        paths.append(path)
    return paths
