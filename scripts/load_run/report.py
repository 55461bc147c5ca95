"""A load run as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.benchmark.pairs import percentile
from scripts.load_run.run import Load


def write_report(loads: Sequence[Load], folder: Path, *, machine: str) -> Path:
    """Writes load.json and load.md; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"machine": machine, "stores": [as_json(each) for each in loads]}
    (folder / "load.json").write_text(json.dumps(told, indent=1) + "\n")
    page = folder / "load.md"
    page.write_text(markdown(loads, machine=machine))
    return page


def as_json(load: Load) -> dict[str, Any]:
    """One store with every sample."""
    return {
        "store": load.store,
        "clients": load.work.num_clients,
        "tasks": load.work.num_tasks,
        "took_s": load.took_s,
        "submit_s": load.tally.submit_s,
        "poll_s": load.tally.poll_s,
        "back_pressure": len(load.tally.back_pressure),
        "errors": load.tally.errors,
        "finished": len(set(load.tally.finished)),
        "resident_bytes": load.memory.resident,
        "depth": {each.name: each.value for each in load.depth},
        "problems": load.problems,
    }


def markdown(loads: Sequence[Load], *, machine: str) -> str:
    """The run as a table, one column a store."""
    rows = [("", *(each.store for each in loads)), ("---", *("---" for _ in loads))]
    names = [name for name, _ in _cells(loads[0])]
    columns = [dict(_cells(each)) for each in loads]
    rows += [(name, *(column.get(name, "") for column in columns)) for name in names]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    problems = [f"- {each.store}: {text}" for each in loads for text in each.problems]
    return "\n".join([machine, "", *lines, "", *(problems or ["No problems."]), ""])


def _cells(load: Load) -> list[tuple[str, str]]:
    tally, resident = load.tally, load.memory.resident
    return [
        ("clients, tasks", f"{load.work.num_clients}, {load.work.num_tasks:,}"),
        ("took", f"{load.took_s:.0f} s"),
        ("submit, p50 / p99", _percentiles(tally.submit_s)),
        ("poll, p50 / p99", _percentiles(tally.poll_s)),
        ("polls", f"{len(tally.poll_s):,}"),
        ("told to come later", str(len(tally.back_pressure))),
        ("other errors", str(len(tally.errors))),
        ("finished", f"{len(set(tally.finished)):,}"),
        ("memory, largest", f"{max(resident, default=0) / 2**20:,.0f} MiB"),
        ("memory, second to last quarter", f"{100 * load.memory.growth:+.1f} %"),
        *((each.name, f"{each.value:.2f} ± {each.spread or 0:.2f}") for each in load.depth),
    ]


def _percentiles(samples: Sequence[float]) -> str:
    if not samples:
        return "none"
    return f"{1000 * percentile(samples, 50):.0f} / {1000 * percentile(samples, 99):.0f} ms"
