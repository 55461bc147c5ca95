"""What clients saw and what was done to the service: lines of JSON that outlive this process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """Appends to a file; any thread may. A line is with the kernel before `add` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = path.open("a")

    def add(self, kind: str, **fields: Any) -> None:
        """Adds an entry."""
        line = json.dumps({"kind": kind, "at": round(time.time(), 3), **fields})
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def entries(self) -> Iterator[dict[str, Any]]:
        """All entries so far; a line that a killed run left unfinished is passed over."""
        for line in self._path.read_text().splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
