"""Inputs that broke something, as files that break it again."""

from __future__ import annotations

import hashlib
import traceback
from dataclasses import dataclass
from pathlib import Path

MAX_FINDINGS = 50


@dataclass(slots=True)
class Findings:
    """A folder with one file for each kind of failure of a target, and a text beside it.

    A kind is the exception and the line it came from: the first input of a kind is kept.

    Attributes:
        folder: `NAME-HASH.input` and `.txt` go there.
        target: whose findings they are.
    """

    folder: Path
    target: str

    def add(self, data: bytes, exc: BaseException) -> None:
        """Keeps an input whose check raised `exc`."""
        frames = traceback.extract_tb(exc.__traceback__)
        where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        text = "".join(traceback.format_exception(exc))
        self._write(data, kind=f"{type(exc).__name__} {where}", text=text)

    def add_end(self, data: bytes, kind: str, text: str) -> None:
        """Keeps an input that ended its whole process, or would have kept it for ever."""
        self._write(data, kind=kind, text=text)

    def files(self) -> list[Path]:
        """The inputs found so far."""
        return sorted(self.folder.glob(f"{self.target}-*.input"))

    def _write(self, data: bytes, *, kind: str, text: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(kind.encode()).hexdigest()[:12]
        file = self.folder / f"{self.target}-{digest}.input"
        if not file.exists() and len(self.files()) < MAX_FINDINGS:
            file.with_suffix(".txt").write_text(f"{kind}\n\n{text}")
            file.write_bytes(data)


def target_of(finding: Path) -> str:
    """The target whose finding a file is."""
    return finding.name.rpartition("-")[0]
