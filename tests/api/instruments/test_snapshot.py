from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from api.instruments.snapshot import FRESH_S, SnapshotFile, read_snapshots
from tests.api.instruments.snapshots import snapshot


def test_what_is_written_is_read_again(tmp_path: Path):
    written = snapshot()
    file = SnapshotFile(tmp_path / "workers", written.worker)
    file.write(snapshot(is_ready=False))
    file.write(written)
    assert read_snapshots(tmp_path / "workers") == [written]
    (path,) = (tmp_path / "workers").iterdir()
    assert path.stat().st_mode & 0o077 == 0, "for the owner alone"
    file.remove()
    assert read_snapshots(tmp_path / "workers") == []
    assert read_snapshots(tmp_path / "nowhere") == []


def test_the_numbers_of_a_killed_worker_are_forgotten(tmp_path: Path):
    dead = snapshot(worker="dead", written_at=time.time() - FRESH_S - 1)
    SnapshotFile(tmp_path, "dead").write(dead)
    os.utime(tmp_path / "dead.json", (0, 0))
    assert read_snapshots(tmp_path) == []
    SnapshotFile(tmp_path, "alive").remove()
    assert not (tmp_path / "dead.json").exists()


def test_a_file_of_another_version_is_passed_over(tmp_path: Path):
    SnapshotFile(tmp_path, "good").write(snapshot())
    (tmp_path / "other.json").write_text('{"worker": "x"}')
    (tmp_path / "broken.json").write_text("{")
    assert len(read_snapshots(tmp_path)) == 1


def test_a_disk_that_takes_no_file_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "workers").write_text("in the way")
    file = SnapshotFile(tmp_path / "workers", "w")
    file.write(snapshot())
    file.write(replace(snapshot(), steps_per_s=1.0))
    assert len(caplog.messages) == 1
    file.remove()
