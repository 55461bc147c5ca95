"""Does a check keep memory? The same inputs again and again, without the engine that made them."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from scripts.fuzzing.catalogue import Check

MIN_ROUNDS = 8
# Allocators keep some pages back. A leak of 2 KiB an input is 16 MiB over 8,000 inputs.
MAX_GROWTH_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Growth:
    """Resident memory over rounds of the same inputs.

    Attributes:
        resident: bytes after each round.
        inputs_a_round: how many each round has.
    """

    resident: Sequence[int]
    inputs_a_round: int

    @property
    def num_bytes(self) -> float:
        """Median of the last quarter less that of the second: the first still fills caches."""
        quarter = max(1, len(self.resident) // 4)
        return median(self.resident[-quarter:]) - median(self.resident[quarter : 2 * quarter])

    @property
    def is_leak(self) -> bool:
        """Whether it is more than allocators do."""
        return self.num_bytes > MAX_GROWTH_BYTES


def measure_growth(
    check: Check, inputs: Sequence[bytes], *, num_inputs: int, seconds: float
) -> Growth:
    """Checks `inputs` in rounds until `num_inputs` are checked or the time is over.

    Args:
        check: of a target; what it raises was found before and is no matter here.
        inputs: at least one.
        num_inputs: in all rounds together.
        seconds: after which no round begins, once `MIN_ROUNDS` are done.
    """
    process, deadline = psutil.Process(), time.monotonic() + seconds
    resident: list[int] = []
    rounds = max(MIN_ROUNDS, num_inputs // len(inputs))
    gc.collect()
    gc.freeze()  # what is here already is not looked through after every round
    try:
        while len(resident) < rounds:
            if len(resident) >= MIN_ROUNDS and time.monotonic() > deadline:
                break
            for data in inputs:
                with contextlib.suppress(Exception):
                    check(data)
            gc.collect()
            resident.append(process.memory_info().rss)
    finally:
        gc.unfreeze()
    return Growth(resident, len(inputs))


def sampled(folder: Path) -> list[bytes]:
    """The inputs a `Judge` put aside."""
    return [path.read_bytes() for path in sorted(folder.iterdir())]
