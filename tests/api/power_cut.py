"""What is left on a disk after a power cut, replayed from the system calls of a real run.

A file's data counts once the file was synced, a name once its folder was: this is all POSIX
promises. A cut keeps that and any part of the rest. `Disk` follows the calls; `Disk.survivor`
is one of the states that a cut at this point may leave.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CALLS = "openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,unlink,mkdir,rmdir"
_BY_NAME = ("openat", "rename", "unlink", "mkdir", "rmdir")
_LINE = re.compile(r"\d+ +(\w+)\((.*)\) += (-?\d+)(?:<.*>)?")
_PATH = re.compile(r"<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')

Tree = tuple[tuple[str, bytes | None], ...]  # names to contents, None of a folder; folders first
Keep = Callable[["Change"], bool]


@dataclass(frozen=True)
class Call:
    """One successful system call: its name, arguments as strace prints them, and result."""

    name: str
    arguments: str
    result: int

    @property
    def paths(self) -> list[str]:
        """The path names it was given, else that of its descriptor."""
        if self.name in _BY_NAME:
            return [bytes.fromhex(text.replace("\\x", "")).decode() for text in self._hex]
        return _PATH.findall(self.arguments)[:1]

    @property
    def data(self) -> bytes:
        return bytes.fromhex(self._hex[0].replace("\\x", ""))

    @property
    def numbers(self) -> list[int]:
        return [int(part) for part in self.arguments.split(", ") if part.isdigit()]

    @property
    def _hex(self) -> list[str]:
        return _TEXT.findall(self.arguments)


def record(command: Sequence[str], log: Path, **options: object) -> list[Call]:
    """The calls that `command` and its threads made, in the order they ended."""
    strace = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-y",
        "-xx",
        "-s",
        "100000000",
        "-e",
        f"trace={CALLS}",
        "-o",
        str(log),
    ]
    subprocess.run([*strace, *command], check=True, **options)  # type: ignore[call-overload]
    return list(_calls(log.read_text()))


def _calls(text: str) -> Iterator[Call]:
    unfinished: dict[str, str] = {}
    for line in text.splitlines():
        thread = line.partition(" ")[0]
        if line.endswith("<unfinished ...>"):
            unfinished[thread] = line.removesuffix("<unfinished ...>").rstrip()
            continue
        if "resumed>" in line:
            line = unfinished.pop(thread) + line.partition("resumed>")[2].lstrip()
        match = _LINE.match(line)
        if match and int(match[3]) >= 0:
            yield Call(match[1], _named(match[2]), int(match[3]))


def _named(arguments: str) -> str:
    """With readable paths of descriptors: -xx has those in hexadecimal too."""

    def readable(match: re.Match[str]) -> str:
        return "<" + re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), match[1]) + ">"

    return _PATH.sub(readable, arguments)


@dataclass
class Change:
    """Something that is not on the disk for sure: a write, or a change of a name."""

    path: str
    kind: str  # "write", "truncate", "link", "unlink"
    offset: int = 0
    data: bytes = b""
    file: File | None = None


@dataclass
class File:
    """Data that is on the disk for sure, and the changes after it."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.synced, change)
        self.pending.clear()

    def survivor(self, keep: Keep) -> bytes:
        data = bytearray(self.synced)
        for change in self.pending:
            if keep(change):
                _apply(data, change)
        return bytes(data)


class Disk:
    """The files below `root`, as a disk that loses what was not synced sees them.

    Args:
        root: absolute; calls on other paths are passed over.
        ignored: suffixes of files that are of no use after a cut.
    """

    def __init__(self, root: str, *, ignored: tuple[str, ...] = ()) -> None:
        self._root = root
        self._ignored = ignored
        self._now: dict[str, File | None] = {root: None}  # None for a folder
        self._names: dict[str, File | None] = {root: None}  # synced ones
        self._pending: list[Change] = []
        self._positions: dict[str, int] = {}

    def follow(self, call: Call) -> bool:
        """Take a call in; whether it changed what a cut might leave."""
        paths = [path for path in call.paths if self._is_mine(path)]
        if not paths:
            return False
        path = paths[-1]
        match call.name:
            case "openat":
                return self._open(path, call.arguments)
            case "mkdir":
                self._link(path, None)
            case "rename":
                self._link(path, self._now[paths[0]])
                self._unlink(paths[0])
            case "unlink" | "rmdir":
                self._unlink(path)
            case "write":
                path = paths[0]
                offset = self._positions.get(path, 0)
                self._positions[path] = offset + call.result
                self._write(path, offset, call.data[: call.result])
            case "pwrite64":
                self._write(paths[0], call.numbers[-1], call.data[: call.result])
            case "ftruncate":
                self._file(path).pending.append(Change(path, "truncate", call.numbers[-1]))
            case "fsync" | "fdatasync":
                self._sync(path)
        return True

    def survivor(self, keep: Keep) -> Tree:
        """What a cut leaves that keeps these of the pending changes."""
        tree: dict[str, bytes | None] = {}
        names = dict(self._names)
        for change in self._pending:
            if keep(change):
                _rename(names, change)
        for path, file in sorted(names.items()):
            if not all(str(parent) in names for parent in Path(path).parents if self._in(parent)):
                continue  # its folder was lost
            name = str(Path(path).relative_to(self._root))
            tree[name] = None if file is None else file.survivor(keep)
        return tuple(tree.items())

    def _in(self, path: Path) -> bool:
        return path == Path(self._root) or Path(self._root) in path.parents

    def _is_mine(self, path: str) -> bool:
        return self._in(Path(path)) and not path.endswith(self._ignored)

    def _open(self, path: str, flags: str) -> bool:
        self._positions[path] = 0
        if path not in self._now and "O_CREAT" in flags:
            self._link(path, File())
            return True
        if "O_TRUNC" in flags:
            self._file(path).pending.append(Change(path, "truncate"))
            return True
        return False

    def _file(self, path: str) -> File:
        file = self._now[path]
        assert file is not None, f"{path} is a folder"
        return file

    def _write(self, path: str, offset: int, data: bytes) -> None:
        self._file(path).pending.append(Change(path, "write", offset, data))

    def _link(self, path: str, file: File | None) -> None:
        self._now[path] = file
        self._pending.append(Change(path, "link", file=file))

    def _unlink(self, path: str) -> None:
        del self._now[path]
        self._pending.append(Change(path, "unlink"))

    def _sync(self, path: str) -> None:
        file = self._now[path]
        if file is not None:
            file.sync()
            return
        here = [change for change in self._pending if str(Path(change.path).parent) == path]
        for change in here:
            _rename(self._names, change)
            self._pending.remove(change)


def write_out(tree: Tree, target: Path) -> None:
    """Make files and folders of what a cut left."""
    for name, data in tree:
        if data is None:
            (target / name).mkdir(parents=True, exist_ok=True)
        else:
            (target / name).write_bytes(data)


def _rename(names: dict[str, File | None], change: Change) -> None:
    if change.kind == "link":
        names[change.path] = change.file
    else:
        names.pop(change.path, None)


def _apply(data: bytearray, change: Change) -> None:
    if change.kind == "truncate":
        del data[change.offset :]
        data.extend(bytes(change.offset - len(data)))
        return
    data.extend(bytes(max(0, change.offset - len(data))))
    data[change.offset : change.offset + len(change.data)] = change.data
