"""`backdrop doctor` on a real server, a task included."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.e2e.conftest import KEYS, Server


def test_the_doctor_finds_every_documented_behaviour(server: Server):
    command = [sys.executable, "-m", "backdrop", "doctor", "--url", server.base_url, "--generate"]
    ran = subprocess.run(
        [*command, "--key", f"alice:{KEYS['alice']}", "--json"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    findings = json.loads(ran.stdout)["findings"]
    assert [finding for finding in findings if finding["verdict"] != "ok"] == []
    assert ran.returncode == 0
    checks = {finding["check"] for finding in findings}
    assert {"the opaque item keeps its pixels", "1202 names doctor-model"} <= checks
