"""A run as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from scripts.fuzzing.watch import Outcome


def write_report(outcomes: Sequence[Outcome], folder: Path, *, started_at: str, load: str) -> Path:
    """Writes fuzz.json and fuzz.md; the table's path."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"started_at": started_at, "load": load, "targets": [as_json(each) for each in outcomes]}
    (folder / "fuzz.json").write_text(json.dumps(told, indent=1) + "\n")
    table = folder / "fuzz.md"
    table.write_text(markdown(outcomes, started_at=started_at, load=load))
    return table


def as_json(outcome: Outcome) -> dict[str, object]:
    """One target's figures."""
    growth = outcome.growth
    return {
        "target": outcome.entry.name,
        "engine": outcome.entry.engine,
        "seed": outcome.seed,
        "inputs": outcome.inputs,
        "accepted": outcome.accepted,
        "slowest_cpu_s": outcome.slowest_s,
        "took_s": outcome.took_s,
        "replayed_inputs": 0 if growth is None else len(growth.resident) * growth.inputs_a_round,
        "memory_growth_bytes": None if growth is None else growth.num_bytes,
        "resident_bytes": None if growth is None else list(growth.resident),
        "findings": [path.name for path in outcome.findings],
    }


def markdown(outcomes: Sequence[Outcome], *, started_at: str, load: str) -> str:
    """The run as a page."""
    lines = [
        f"Run of {started_at}; {load}.",
        "",
        "| target | engine | seed | inputs | accepted | slowest, CPU | memory growth | findings |",
        "|---|---|---|---|---|---|---|---|",
        *(_line(each) for each in outcomes),
        "",
        f"In all {sum(each.inputs for each in outcomes):,} inputs,"
        f" {sum(len(each.findings) for each in outcomes)} findings.",
        "",
    ]
    return "\n".join(lines)


def _line(outcome: Outcome) -> str:
    growth = "not measured"
    if outcome.growth is not None:
        replayed = len(outcome.growth.resident) * outcome.growth.inputs_a_round
        mark = "**leak** " if outcome.growth.is_leak else ""
        growth = f"{mark}{outcome.growth.num_bytes / 2**20:.1f} MiB in {replayed:,}"
    cells = (
        outcome.entry.name,
        outcome.entry.engine,
        outcome.seed,
        f"{outcome.inputs:,}",
        f"{outcome.accepted:,}",
        f"{1000 * outcome.slowest_s:.0f} ms",
        growth,
        len(outcome.findings),
    )
    return f"| {' | '.join(map(str, cells))} |"
