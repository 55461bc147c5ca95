"""What a fuzzing process is doing, in memory that outlives it."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

MAX_INPUT_BYTES = 2**20
_HEAD = struct.Struct("<QQQQQ")


@dataclass(frozen=True, slots=True)
class Entered:
    """A look at a ledger.

    Attributes:
        begun: inputs whose check has begun.
        ended: inputs whose check has ended; one less than `begun` while one is checked.
        accepted: of those that ended.
        slowest_s: CPU time of the slowest check.
        current: the last input that was begun.
    """

    begun: int
    ended: int
    accepted: int
    slowest_s: float
    current: bytes

    @property
    def is_checking(self) -> bool:
        """Whether an input is being checked."""
        return self.begun > self.ended


class Ledger:
    """Counters and the current input in a mapped file: a process killed in a check leaves both.

    Args:
        path: made where it is absent; the counts of an earlier process are continued.
    """

    def __init__(self, path: Path) -> None:
        size = _HEAD.size + MAX_INPUT_BYTES
        with path.open("ab") as file:
            file.truncate(size)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)
        self._begun, self._ended, self._accepted, self._slowest_us, _ = self._head()

    def begin(self, data: bytes) -> None:
        """A check of `data` begins."""
        kept = data[:MAX_INPUT_BYTES]
        self._map[_HEAD.size : _HEAD.size + len(kept)] = kept
        self._begun += 1
        self._write(len(kept))

    def end(self, *, accepted: bool, took_s: float) -> None:
        """The check that began last has ended."""
        self._ended = self._begun
        self._accepted += accepted
        self._slowest_us = max(self._slowest_us, int(took_s * 1e6))
        self._write(self._head()[4])

    def read(self) -> Entered:
        """What is in it now, written by whatever process."""
        begun, ended, accepted, slowest_us, length = self._head()
        current = self._map[_HEAD.size : _HEAD.size + length]
        return Entered(begun, ended, accepted, slowest_us / 1e6, current)

    def close(self) -> None:
        """Lets go of the file."""
        self._map.close()

    def _head(self) -> tuple[int, int, int, int, int]:
        begun, ended, accepted, slowest_us, length = _HEAD.unpack_from(self._map)
        return begun, ended, accepted, slowest_us, length

    def _write(self, length: int) -> None:
        _HEAD.pack_into(
            self._map, 0, self._begun, self._ended, self._accepted, self._slowest_us, length
        )
