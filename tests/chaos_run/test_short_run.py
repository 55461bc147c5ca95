"""The chaos run itself, in its short form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_short_run_loses_nothing_and_reports_it(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "chaos"
    command = [sys.executable, "-m", "scripts.chaos_run", "--folder", str(folder)]
    command += ["--stand-in-child", "--tasks", "60", "--kills", "15", "--pace-s", "0.5"]
    command += ["--minutes", "2"]
    run = subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert run.returncode == 0, run.stdout + run.stderr
    result = json.loads((folder / "report.json").read_text())
    assert result["accepted"] >= 60
    assert result["kills"] >= 15
    assert result["finished"] + result["failed"] == result["accepted"]
    assert "| lost | 0 |" in (folder / "report.md").read_text()
    assert not (folder / "disk").is_mount()
