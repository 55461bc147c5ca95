"""The folder of a sweep: what has been painted outlives the process, whatever ends it."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_MANIFEST, _LOG, _LOCK, _IMAGES = "manifest.json", "painted.jsonl", ".lock", "images"


class SweepRefused(Exception):
    """The folder cannot take this sweep; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class PaintedPoint:
    """A line of the log: a point whose picture is in the folder.

    Attributes:
        index: of the point.
        file: of the picture, relative to the folder.
        sha256: of the file's bytes, hexadecimal.
        seed: of the picture.
        seconds: see `PointDone`.
        parameters: every resolved setting, JSON-ready.
    """

    index: int
    file: str
    sha256: str
    seed: int
    seconds: float
    parameters: dict[str, Any] = field(default_factory=dict)


class SweepFolder:
    """A folder that one process at a time works in, see `open_sweep_folder`.

    A picture is written under another name and renamed, then a line is added to the log. A point
    counts as painted when its line is whole and its picture has the digest the line tells; all else
    is what a crash has left, and is painted again.

    Attributes:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self, identity: Mapping[str, str], seed: int) -> dict[int, PaintedPoint]:
        """Makes the folder that of a sweep, or goes on with it.

        Returns:
            The points painted before, by index.

        Raises:
            SweepRefused: the folder holds another sweep.
        """
        manifest = read_manifest(self.path)
        if manifest is None:
            content = {"identity": dict(identity), "seed": seed}
            write_file(self.path / _MANIFEST, (json.dumps(content, indent=1) + "\n").encode())
        elif manifest["identity"] != identity:
            known = manifest["identity"]
            other = [name for name in identity if known.get(name) != identity[name]]
            raise SweepRefused(
                f"{self.path} holds another sweep: {', '.join(other) or 'its manifest'} differ;"
                " choose another folder"
            )
        (self.path / _IMAGES).mkdir(exist_ok=True)
        painted = {point.index: point for point in self._log() if self._is_whole(point)}
        lines = [_line(point) for point in painted.values()]
        write_file(self.path / _LOG, b"".join(lines))  # without what a crash has torn
        return painted

    def add(
        self, index: int, png: bytes, *, seed: int, seconds: float, parameters: dict[str, Any]
    ) -> PaintedPoint:
        """Keeps a point's picture."""
        file = f"{_IMAGES}/{index:04}.png"
        write_file(self.path / file, png)
        point = PaintedPoint(
            index, file, hashlib.sha256(png).hexdigest(), seed, round(seconds, 4), parameters
        )
        with (self.path / _LOG).open("ab") as log:
            log.write(_line(point))
        return point

    def _log(self) -> Iterator[PaintedPoint]:
        try:
            lines = (self.path / _LOG).read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                yield PaintedPoint(**json.loads(line))
            except (ValueError, TypeError):
                continue

    def _is_whole(self, point: PaintedPoint) -> bool:
        try:
            png = (self.path / point.file).read_bytes()
        except OSError:
            return False
        return hashlib.sha256(png).hexdigest() == point.sha256


@contextmanager
def open_sweep_folder(path: Path) -> Iterator[SweepFolder]:
    """The folder, made where it is missing, for this process alone until the block ends.

    Raises:
        SweepRefused: another process works in it, or it holds something else than a sweep.
        OSError: it cannot be made or written.
    """
    path.mkdir(parents=True, exist_ok=True)
    has_other_files = any(not each.name.startswith(".") for each in path.iterdir())
    if has_other_files and not (path / _MANIFEST).exists():
        raise SweepRefused(f"{path} holds other files; choose a new or an empty folder")
    with (path / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SweepRefused(f"{path}: another process is at work on this sweep") from None
        yield SweepFolder(path)


def read_manifest(path: Path) -> dict[str, Any] | None:
    """What the sweep in that folder depends on, and its seed; None where there is no sweep.

    Raises:
        SweepRefused: the manifest is damaged.
    """
    file = path / _MANIFEST
    try:
        manifest = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as exc:
        raise SweepRefused(f"{file} is damaged; choose another folder") from exc
    expected = {"identity": dict, "seed": int}
    if not isinstance(manifest, dict) or not all(
        isinstance(manifest.get(key), kind) for key, kind in expected.items()
    ):
        raise SweepRefused(f"{file} is no manifest of a sweep; choose another folder")
    return manifest


def write_file(path: Path, data: bytes) -> None:
    """Writes a file so that a killed process leaves the whole of it or what was there before."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)


def _line(point: PaintedPoint) -> bytes:
    return json.dumps(asdict(point)).encode() + b"\n"
