"""What a request can make the service touch: no file of its choosing, and nobody outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.reach_probe import MARKER

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def touched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("reach")
    command = [sys.executable, "-m", "tests.api.reach_probe", str(folder)]
    probe = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert probe.returncode == 0, probe.stderr
    return folder, json.loads(probe.stdout)


def test_the_hostile_requests_reach_far_enough(touched):
    _, found = touched
    assert {0, 161, 230, 404, 1202} <= set(found["codes"])
    assert any(event == "open" for event, _ in found["events"]), "accepted images are written"


def test_no_text_of_a_request_reaches_the_file_system(touched):
    _, found = touched
    assert [event for event in found["events"] if MARKER in event[1]] == []


def test_files_are_opened_in_the_data_folder_only(touched):
    folder, found = touched
    assert any(path.startswith(str(folder)) for path in found["opened"])
    own = (str(folder), sys.prefix, sys.base_prefix, str(ROOT), "/dev/null", "/etc/mime.types")
    assert [path for path in found["opened"] if not path.startswith(own)] == []


def test_nobody_is_called_and_nothing_is_started(touched):
    _, found = touched
    outward = ("socket.connect", "socket.getaddrinfo", "socket.gethost", "socket.sendto")
    outward += ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.")
    outward += ("urllib.",)
    assert [event for event in found["events"] if event[0].startswith(outward)] == []
