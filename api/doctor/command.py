"""`backdrop doctor`: findings as lines or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

import httpx
import typer

from api.doctor.finding import Finding, Verdict, fail
from api.doctor.rules import ANSWERS, FREE_RULES
from api.doctor.talk import Talk

TIMEOUT_S = 60.0
_COLORS = {
    Verdict.OK: typer.colors.GREEN,
    Verdict.NOTE: typer.colors.BLUE,
    Verdict.WARN: typer.colors.YELLOW,
    Verdict.FAIL: typer.colors.RED,
}


def probe(url: str, public_key: str, private_key: str, *, generate: bool) -> Iterator[Finding]:
    """Which of the documented behaviours a server has.

    Args:
        url: its base URL.
        public_key: of the caller.
        private_key: likewise.
        generate: also those that make a task, which may cost credits.
    """
    try:
        client = httpx.Client(base_url=url.rstrip("/") + "/", timeout=TIMEOUT_S)
    except httpx.InvalidURL as exc:
        yield fail("--url", f"{url}: {exc}", "give it as http://host:port")
        return
    with client as http:
        talk = Talk(http, public_key, private_key)
        answers = ANSWERS.judge(talk)
        yield answers
        if answers.verdict is Verdict.FAIL:
            return
        for rule in FREE_RULES:
            yield rule.judge(talk)
        if generate:
            from api.doctor.paid_rules import paid_findings  # imports Pillow

            yield from paid_findings(talk)


def report(findings: Iterator[Finding], *, as_json: bool) -> bool:
    """Print each finding as it comes, or all of them as JSON; whether none is a failure."""
    told = []
    for finding in findings:
        told.append(finding)
        if not as_json:
            _print(finding)
    failures = sum(finding.verdict is Verdict.FAIL for finding in told)
    if as_json:
        document = {"ok": failures == 0, "findings": [asdict(finding) for finding in told]}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        typer.echo(f"{len(told)} checks, {failures} failed" if failures else f"{len(told)} checks")
    return failures == 0


def _print(finding: Finding) -> None:
    verdict = typer.style(f"{finding.verdict:5}", fg=_COLORS[finding.verdict])
    detail = f": {finding.detail}" if finding.detail else ""
    typer.echo(f"{verdict} {finding.check}{detail}")
    if finding.advice:
        typer.echo(f"      -> {finding.advice}")
