"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How good a finding is. Only `FAIL` makes the command fail."""

    OK = "ok"
    NOTE = "note"  # worth knowing
    WARN = "warn"  # it will run, but not well
    FAIL = "fail"  # it will not run, or breaks a promise


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `advice` says what to do and is empty where nothing is to be done."""

    check: str
    verdict: Verdict
    detail: str
    advice: str = ""


def ok(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, Verdict.OK, detail)


def warn(check: str, detail: str, advice: str) -> Finding:
    """It will run, but not well."""
    return Finding(check, Verdict.WARN, detail, advice)


def fail(check: str, detail: str, advice: str) -> Finding:
    """It will not run."""
    return Finding(check, Verdict.FAIL, detail, advice)
