"""A run as JSON, as a table and as a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from scripts.benchmark.outcome import Outcome, Run
from scripts.benchmark.row import Measure

_MARKS = {"aim": "aim", "must": "must", "missed": "**missed**", "": ""}


def write_report(run: Run, folder: Path) -> Path:
    """Writes bench.json, bench.md and bench.png; the table's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(run.as_json(), indent=1) + "\n")
    table = folder / "bench.md"
    table.write_text(markdown(run))
    from scripts.benchmark.plot import draw  # matplotlib: only where a picture is drawn

    draw(run, folder / "bench.png")
    return table


def markdown(run: Run) -> str:
    """The run as a page: machine, noise, table, notes."""
    lines = [f"Measured {run.started_at}.", ""]
    if run.caveat:
        lines += [f"**{run.caveat}**", ""]
    lines += [f"- {name}: {value}" for name, value in run.machine.items()]
    if run.noise:
        lines += ["", "A against A, the same thing measured twice in turn:", ""]
        lines += [f"- {each.name}: {_value(each)}{_spread(each)}" for each in run.noise]
    lines += [
        "",
        "| # | measure | shape | value | spread | must | aim | reached |",
        "|---|---|---|---|---|---|---|---|",
        *(line for outcome in run.outcomes for line in _lines(outcome)),
        "",
        "Spread is half the distance between the quartiles.",
    ]
    notes = list(_notes(run.outcomes))
    return "\n".join([*lines, *(["", *notes] if notes else []), ""])


def _lines(outcome: Outcome) -> Iterable[str]:
    row = outcome.row
    if outcome.error:
        yield _cells(row.number, row.title, row.shape, "failed", "", "", "", "**failed**")
    for measure in outcome.measures:
        limit = measure.limit
        yield _cells(
            row.number,
            f"{row.title}: {measure.name}" if measure.name else row.title,
            row.shape,
            _value(measure),
            _spread(measure).removeprefix(" ± "),
            _number(limit.must) if limit else "",
            _number(limit.aim) if limit else "",
            _MARKS[measure.verdict],
        )


def _cells(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _notes(outcomes: Iterable[Outcome]) -> Iterable[str]:
    for outcome in outcomes:
        number = outcome.row.number
        if outcome.error:
            yield f"- {number}: failed: {outcome.error}"
        if outcome.disturbance:
            yield f"- {number}: disturbed: {outcome.disturbance}"
        for measure in outcome.measures:
            if measure.note:
                yield f"- {number}, {measure.name or outcome.row.title}: {measure.note}"


def _value(measure: Measure) -> str:
    return f"{_number(measure.value)} {measure.unit}".strip()


def _spread(measure: Measure) -> str:
    return "" if measure.spread is None else f" ± {_number(measure.spread)}"


def _number(value: float) -> str:
    """Three significant digits, whole numbers whole."""
    text = f"{value:.3g}"
    return f"{value:,.0f}" if "e" in text or value >= 1000 else text
