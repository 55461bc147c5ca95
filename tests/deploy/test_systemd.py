from __future__ import annotations

from collections import defaultdict

import pytest

from api.fleet import STOP_TIMEOUT_S
from api.server import GRACE_S
from tests.deploy.files import DEPLOY, assert_are_settings, assert_is_a_command

UNIT = DEPLOY / "systemd" / "backdrop.service"


@pytest.fixture(scope="module")
def unit() -> dict[str, list[str]]:
    """Values by SECTION.KEY; a key may be given several times."""
    found: dict[str, list[str]] = defaultdict(list)
    section = ""
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            found[f"{section}.{key}"].append(value)
    return found


def test_the_unit_runs_a_command_with_settings_that_exist(unit):
    program, *arguments = unit["Service.ExecStart"][0].split()
    assert program.endswith("/bin/backdrop")
    assert_is_a_command(arguments)
    environment = dict(value.split("=", 1) for value in unit["Service.Environment"])
    assert_are_settings(environment)
    assert environment["BACKDROP_DATA_DIR"] == f"/var/lib/{unit['Service.StateDirectory'][0]}"


def test_only_the_main_process_is_told_to_stop_and_gets_the_time_for_it(unit):
    assert unit["Service.KillMode"] == ["mixed"]
    assert int(unit["Service.TimeoutStopSec"][0]) > GRACE_S + STOP_TIMEOUT_S
    assert unit["Service.Restart"] == ["always"]


def test_it_has_no_more_rights_than_it_needs(unit):
    assert unit["Service.User"] == ["backdrop"]
    assert unit["Service.ProtectSystem"] == ["strict"]
    assert unit["Service.CapabilityBoundingSet"] == [""]
