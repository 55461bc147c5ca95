from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.benchmark.outcome import Outcome, Run
from scripts.benchmark.report import markdown, write_report
from scripts.benchmark.row import Limit, Measure, Row

ROW = Row(9, "switching", lambda _bench: (), "M")


def run_of(*measures: Measure, error: str = "", disturbance: str = "") -> Run:
    outcome = Outcome(ROW, measures, 1.0, error, disturbance)
    return Run(
        {"memory": "8 GiB"}, "today", False, [Measure("B0 / B0", 1.01, spread=0.02)], [outcome]
    )


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [
        (0.1, False, "aim"),
        (0.5, False, "must"),
        (0.51, False, "missed"),
        (0.6, True, "aim"),
        (0.5, True, "must"),
        (0.4, True, "missed"),
    ],
)
def test_a_verdict_is_the_best_bound_that_is_kept(
    value: float, at_least: bool, verdict: str
) -> None:
    limit = Limit(0.5, 0.6, at_least=True) if at_least else Limit(0.5, 0.1)
    assert limit.verdict(value) == verdict


def test_the_table_tells_value_spread_bounds_and_what_was_missed() -> None:
    page = markdown(run_of(Measure("A to B", 0.7, limit=Limit(0.5, 0.1), spread=0.03, note="why")))
    assert "| 9 | switching: A to B | M | 0.7 | 0.03 | 0.5 | 0.1 | **missed** |" in page
    assert "- 9, A to B: why" in page
    assert "- B0 / B0: 1.01 ± 0.02" in page


def test_a_failed_row_and_a_disturbed_one_are_told_not_hidden() -> None:
    page = markdown(run_of(error="RuntimeError: broken", disturbance="python uses 1.2 cores"))
    assert "**failed**" in page
    assert "- 9: failed: RuntimeError: broken" in page
    assert "- 9: disturbed: python uses 1.2 cores" in page


def test_the_json_file_keeps_every_sample(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    measure = Measure("A to B", 0.7, "ms", Limit(1, 0.1), samples={"a": [0.6, 0.8]})
    write_report(run_of(measure), tmp_path)
    [row] = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert row["measures"][0]["samples"] == {"a": [0.6, 0.8]}
    assert row["measures"][0]["verdict"] == "must"


def test_the_picture_is_drawn_whatever_the_numbers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    measures = [
        Measure("none", 0.0, limit=Limit(5, 1)),
        Measure("negative", -3.0, "%", Limit(5, 1)),
        Measure("huge", 1e9, "ms", Limit(5, 1, at_least=True)),
        Measure("told", 1.0),
    ]
    write_report(run_of(*measures), tmp_path)
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
