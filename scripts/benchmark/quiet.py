"""Whether the machine is ours: what other processes use of its cores."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

import psutil

MAX_FOREIGN_CORES = 0.2
_LOOK_S = 2.0


class MachineIsBusy(Exception):
    """Another process uses more of the machine than a measurement bears."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A process that is not ours and the cores it used."""

    pid: int
    name: str
    cores: float

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid}) uses {self.cores:.2f} cores"


@dataclass(slots=True)
class ForeignLoad:
    """Watches from its making on what processes outside this one's family use."""

    _started_at: float = field(default_factory=time.monotonic)
    _before: dict[psutil.Process, float] = field(default_factory=lambda: _cpu_seconds())

    def seen(self) -> list[Foreign]:
        """Foreign processes that used the machine since then, the busiest first."""
        elapsed_s = time.monotonic() - self._started_at
        family = _family()
        used = {
            process: (seconds - self._before.get(process, 0.0)) / elapsed_s
            for process, seconds in _cpu_seconds().items()
            if process.pid not in family
        }
        return [
            Foreign(process.pid, _name(process), cores)
            for process, cores in sorted(used.items(), key=lambda item: -item[1])
            if cores > 0
        ]

    def disturbance(self) -> Foreign | None:
        """The busiest of them, if it used more than a measurement bears."""
        return next((each for each in self.seen() if each.cores > MAX_FOREIGN_CORES), None)


def require_quiet(*, look_s: float = _LOOK_S) -> None:
    """Looks on for `look_s` seconds.

    Raises:
        MachineIsBusy: a process outside this one's family used more than `MAX_FOREIGN_CORES`.
    """
    load = ForeignLoad()
    time.sleep(look_s)
    foreign = load.disturbance()
    if foreign is not None:
        raise MachineIsBusy(f"{foreign}: at most {MAX_FOREIGN_CORES} is borne")


def _family() -> set[int]:
    """This process, those that started it and wait for it, and all that it started."""
    ours = psutil.Process(os.getpid())
    family = [ours, *ours.parents(), *ours.children(recursive=True)]
    return {process.pid for process in family}


def _cpu_seconds() -> dict[psutil.Process, float]:
    """CPU time used so far by every process that can be looked at."""
    used = {}
    for process in psutil.process_iter():
        try:
            times = process.cpu_times()
        except psutil.Error:  # it ended meanwhile, or is none of our business
            continue
        used[process] = times.user + times.system
    return used


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return "a process"
