"""Memory of a server while it is under load."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

import psutil

# Between the second and the last quarter of a run. Allocators and caches still move a little then.
MAX_GROWTH = 0.1
_EVERY_S = 1.0


@dataclass(slots=True)
class Memory:
    """Resident bytes of all processes of a server, once a second.

    Attributes:
        resident: in order of time.
    """

    resident: list[int] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Median of the last quarter over that of the second, less 1; 0 of fewer than 8 looks."""
        if len(self.resident) < 8:
            return 0.0
        quarter = len(self.resident) // 4
        before, after = self.resident[quarter : 2 * quarter], self.resident[-quarter:]
        return median(after) / median(before) - 1

    @property
    def is_flat(self) -> bool:
        """Whether it grew by no more than `MAX_GROWTH`."""
        return self.growth <= MAX_GROWTH


@contextlib.contextmanager
def watched(resident_bytes: Callable[[], int], *, every_s: float = _EVERY_S) -> Iterator[Memory]:
    """Looks on in a thread while the block runs.

    Args:
        resident_bytes: takes one look.
        every_s: between two looks.
    """
    memory, stop = Memory(), threading.Event()

    def look() -> None:
        while not stop.wait(every_s):
            with contextlib.suppress(psutil.Error):  # a process ended between list and look
                memory.resident.append(resident_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield memory
    finally:
        stop.set()
        thread.join()
