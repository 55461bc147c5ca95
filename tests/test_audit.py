"""scripts/audit.py tells what is wrong, and does not take silence for an answer."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from packaging.version import Version

from scripts import audit

CONSTRAINTS = """
# Exact versions.
torch==2.13.0
colorama==0.4.6 ; sys_platform == 'no such system'
Hugging_Face.Hub==2.4.0
"""


def project(*dependencies: str, **extras: list[str]) -> dict[str, Any]:
    return {
        "project": {
            "name": "backdrop",
            "dependencies": list(dependencies),
            "optional-dependencies": extras,
        }
    }


def test_pins_are_read_by_their_canonical_names_where_they_hold():
    assert audit.pins_of(CONSTRAINTS) == {
        "torch": Version("2.13.0"),
        "hugging-face-hub": Version("2.4.0"),
    }


def test_a_dependency_without_a_fitting_pin_is_found():
    pins = audit.pins_of(CONSTRAINTS)
    good = project("torch>=2.13", bench=["backdrop[dev]"], dev=["hugging-face-hub"])
    assert list(audit.unpinned(good, pins)) == []
    bad = project("torch>=2.14", "absent; sys_platform == 'no such system'", dev=["nothing"])
    assert list(audit.unpinned(bad, pins)) == [
        "torch>=2.14 does not allow 2.13.0 of constraints.txt",
        "nothing has no version in constraints.txt",
    ]


def test_what_is_installed_in_another_version_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit, "version", {"torch": "2.13.0+cpu"}.__getitem__)
    assert list(audit.other_versions({"torch": Version("2.13.0")})) == []
    [fault] = audit.other_versions({"torch": Version("2.12.0")})
    assert fault.startswith("torch 2.13.0+cpu is installed")


def test_the_projects_own_dependencies_are_pinned():
    pins = audit.pins_of(audit.CONSTRAINTS.read_text())
    pyproject = audit.tomllib.loads((audit.ROOT / "pyproject.toml").read_text())
    assert list(audit.unpinned(pyproject, pins)) == []


def answering(monkeypatch: pytest.MonkeyPatch, stdout: str) -> None:
    answer = subprocess.CompletedProcess([], 1, stdout, "")
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: answer)


def test_known_vulnerabilities_fail_the_audit(monkeypatch: pytest.MonkeyPatch, capsys):
    answering(
        monkeypatch,
        '{"dependencies": [{"name": "jinja2", "version": "3.1.2", "vulns": [{"id": "GHSA-1",'
        ' "fix_versions": ["3.1.3"], "aliases": [], "description": ""}]},'
        ' {"name": "own", "skip_reason": "not found"}], "fixes": []}',
    )
    monkeypatch.setattr(audit, "other_versions", lambda _: ())
    assert audit.main() == 1
    out, err = capsys.readouterr()
    assert err == "audit: jinja2 3.1.2: GHSA-1, mended in 3.1.3\n"
    assert out.endswith(": 1 packages, not known there: own\n")


@pytest.mark.parametrize("stdout", ["", "ERROR: connection refused"])
def test_no_answer_is_told_and_does_not_fail(monkeypatch: pytest.MonkeyPatch, capsys, stdout: str):
    answering(monkeypatch, stdout)
    monkeypatch.setattr(audit, "other_versions", lambda _: ())
    assert audit.main() == 0
    assert "NOT audited" in capsys.readouterr().out
