"""The bench looks at real processes: one that spins outside its family, and its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from scripts.benchmark.quiet import ForeignLoad

_SPIN = "while True: pass"
# Leaves a grandchild that belongs to nobody here any more, and tells its number.
_ORPHAN = (
    "import subprocess, sys; quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL};"
    f"print(subprocess.Popen([sys.executable, '-c', {_SPIN!r}], start_new_session=True, **quiet).pid)"
)


@pytest.fixture
def orphan() -> Iterator[int]:
    """A spinning process that is no descendant of this one."""
    told = subprocess.run(
        [sys.executable, "-c", _ORPHAN], capture_output=True, text=True, check=True
    )
    process = psutil.Process(int(told.stdout))
    yield process.pid
    process.kill()


def test_a_foreign_process_that_spins_is_seen(orphan: int) -> None:
    assert orphan in _seen()


def test_our_own_children_are_no_foreign_load() -> None:
    child = subprocess.Popen([sys.executable, "-c", _SPIN])
    try:
        assert child.pid not in _seen()
    finally:
        child.kill()
        child.wait()


def _seen() -> set[int]:
    """Foreign processes that used the machine within half a second."""
    load = ForeignLoad()
    time.sleep(0.5)
    return {each.pid for each in load.seen()}
