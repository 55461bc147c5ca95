from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from api import fleet
from api.devices import _visible
from api.fleet import Fleet
from api.settings import Settings

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print(flush=True); time.sleep(60)",
]


class Starts:
    """Starts a stand-in for each supervisor and remembers for which device."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.devices: list[str] = []

    def __call__(self, _settings: Settings, device: str) -> subprocess.Popen[bytes]:
        self.devices.append(device)
        process = subprocess.Popen(self.command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as pipe:
            if self.command is STUBBORN:
                pipe.readline()  # it ignores SIGTERM from here on
        return process


@pytest.fixture
def fleet_of() -> Iterator[Callable[[Starts, list[str]], Fleet]]:
    fleets: list[Fleet] = []

    def make(starts: Starts, devices: list[str]) -> Fleet:
        fleets.append(Fleet(Settings(), devices, start=starts))
        return fleets[-1]

    yield make
    for each in fleets:
        each.stop()


def tend_until(fleet: Fleet, condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        fleet.tend()
        time.sleep(0.01)


def test_every_device_gets_one_supervisor(fleet_of):
    starts = Starts(SLEEPER)
    fleet = fleet_of(starts, ["cuda:0", "cuda:1"])
    for _ in range(5):
        fleet.tend()
    assert starts.devices == ["cuda:0", "cuda:1"]
    assert len(set(fleet.pids)) == 2


def test_a_dead_supervisor_is_replaced_and_the_others_stay(fleet_of, monkeypatch):
    monkeypatch.setattr(fleet, "FIRST_DELAY_S", 0.01)
    starts = Starts(SLEEPER)
    two = fleet_of(starts, ["cuda:0", "cuda:1"])
    two.tend()
    first, second = two.pids
    two._posts[0].process.kill()
    tend_until(two, lambda: len(starts.devices) == 3)
    assert starts.devices[2] == "cuda:0"
    assert first not in two.pids
    assert second in two.pids


def test_one_that_keeps_dying_waits_longer_each_time(fleet_of, monkeypatch):
    monkeypatch.setattr(fleet, "FIRST_DELAY_S", 0.01)
    starts = Starts([sys.executable, "-S", "-c", "raise SystemExit(1)"])
    one = fleet_of(starts, ["cpu"])
    delays = []
    for count in (2, 3, 4):
        tend_until(one, lambda count=count: len(starts.devices) == count)
        delays.append(one._posts[0].delay_s)
    assert delays == pytest.approx([0.01, 0.02, 0.04])


def test_stopping_ends_all_even_those_that_do_not_listen(fleet_of, monkeypatch):
    monkeypatch.setattr(fleet, "STOP_TIMEOUT_S", 0.2)
    for command in (SLEEPER, STUBBORN):
        one = fleet_of(Starts(command), ["cpu"])
        one.tend()
        process = one._posts[0].process
        one.stop()
        assert process.poll() is not None
        assert one.pids == []


@pytest.mark.parametrize(
    ("visible", "installed", "count"),
    [
        (None, 0, 0),
        (None, 3, 3),
        ("", 3, 0),
        ("-1", 3, 0),
        ("1", 3, 1),
        ("2, 0", 3, 2),
        ("0,-1,1", 3, 1),
        ("0,7,1", 3, 1),
        ("GPU-1234", 3, 1),
        ("MIG-12,MIG-34", 1, 2),
        ("0", 0, 0),
    ],
)
def test_visible_devices_are_counted_as_cuda_counts_them(visible, installed, count):
    assert _visible(visible, installed) == count
