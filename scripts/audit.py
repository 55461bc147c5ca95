"""Audit of what Backdrop depends on; scripts/check runs it.

What can be told offline is always told: every dependency has one exact version in constraints.txt,
and what is installed here is that version. Known vulnerabilities of those versions are asked of
osv.dev through pip-audit. Where it does not answer the audit says so and does not fail: a machine
without a network must pass too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
ANSWER_TIMEOUT_S = 300.0

Report = list[dict[str, Any]]


def main() -> int:
    """Exit status: 0 all is well as far as it can be told, 1 something is wrong."""
    constraints = CONSTRAINTS.read_text(encoding="utf-8")
    pins = pins_of(constraints)
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    faults = [*unpinned(pyproject, pins), *other_versions(pins)]
    report = ask_pip_audit()
    if report is None:
        print("audit: NOT audited for known vulnerabilities: osv.dev does not answer")
    else:
        faults += vulnerabilities_of(report)
        print(f"audit: known vulnerabilities were asked of osv.dev: {coverage_of(report)}")
    for fault in faults:
        print(f"audit: {fault}", file=sys.stderr)
    return 1 if faults else 0


def pins_of(constraints: str) -> dict[str, Version]:
    """Name to version of the pins whose marker holds here."""
    lines = (line.strip() for line in constraints.splitlines())
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonicalize_name(each.name): Version(str(each.specifier).removeprefix("=="))
        for each in requirements
        if each.marker is None or each.marker.evaluate()
    }


def unpinned(pyproject: dict[str, Any], pins: dict[str, Version]) -> Iterator[str]:
    """Declared dependencies, extras included, that have no pin or one they do not allow."""
    project = pyproject["project"]
    extras = project["optional-dependencies"].values()
    declared = [*project["dependencies"], *(each for extra in extras for each in extra)]
    for requirement in map(Requirement, declared):
        name = canonicalize_name(requirement.name)
        holds = requirement.marker is None or requirement.marker.evaluate()
        if name == project["name"] or not holds:
            continue
        if name not in pins:
            yield f"{requirement} has no version in constraints.txt"
        elif pins[name] not in requirement.specifier:
            yield f"{requirement} does not allow {pins[name]} of constraints.txt"


def other_versions(pins: dict[str, Version]) -> Iterator[str]:
    """What is installed here in another version than the pinned one."""
    for name, pin in pins.items():
        try:
            installed = Version(version(name))
        except PackageNotFoundError:
            continue
        if Version(installed.public) != pin:  # torch has builds such as 2.13.0+cpu
            yield f"{name} {installed} is installed, not {pin} of constraints.txt"


def ask_pip_audit() -> Report | None:
    """What osv.dev knows of the pinned versions; None where it does not answer."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS)]
    command += ["--no-deps", "--disable-pip", "--vulnerability-service", "osv"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False
        )
        report: Report = json.loads(answer.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return report


def vulnerabilities_of(report: Report) -> list[str]:
    """What a report of pip-audit finds, a line each."""
    return [
        f"{package['name']} {package['version']}: {found['id']}, mended in"
        f" {', '.join(found['fix_versions']) or 'no version yet'}"
        for package in report
        for found in package.get("vulns", ())
    ]


def coverage_of(report: Report) -> str:
    """How much of what is pinned a report of pip-audit is about."""
    skipped = [package["name"] for package in report if "skip_reason" in package]
    audited = f"{len(report) - len(skipped)} packages"
    return f"{audited}, not known there: {', '.join(skipped)}" if skipped else audited


if __name__ == "__main__":
    sys.exit(main())
