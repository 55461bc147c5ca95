"""The page of the docs and the dashboard name the metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.instruments.metrics import METRICS

NAME = re.compile(r"\bbackdrop_[a-z_]+\b")
LABELS = {"le", *(label for metric in METRICS for label in metric.labels)}


@pytest.fixture(scope="module")
def dashboard(root: Path) -> dict[str, Any]:
    return json.loads((root / "deploy/grafana/backdrop.json").read_text())


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: dict[str, Any]) -> Iterator[str]:
    for panel in panels_of(dashboard):
        for target in panel["targets"]:
            yield target["expr"]


def series() -> dict[str, str]:
    """Every name that can be queried, and the metric it is of."""
    names = {}
    for metric in METRICS:
        endings = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        names |= {metric.name + ending: metric.name for ending in endings}
    return names


def test_the_docs_have_a_line_for_every_metric(root: Path):
    text = (root / "docs/instruments.md").read_text()
    lines = re.findall(r"^\| `(backdrop_\w+)` \| (\w+) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    assert lines == [
        (metric.name, metric.kind, ", ".join(metric.labels) or "-", metric.meaning)
        for metric in METRICS
    ]


def test_the_dashboard_asks_for_all_metrics_and_for_no_others(dashboard: dict[str, Any]):
    asked = {name for query in queries(dashboard) for name in NAME.findall(query)}
    assert asked <= series().keys()
    assert {series()[name] for name in asked} == {metric.name for metric in METRICS}


def test_its_queries_group_by_labels_that_there_are(dashboard: dict[str, Any]):
    for query in queries(dashboard):
        groups = re.findall(r"\bby \(([^)]*)\)", query)
        filters = re.findall(r"(\w+)=~?\"|(\w+)!=\"", query)
        named = {label.strip() for group in groups for label in group.split(",")}
        named |= {label for pair in filters for label in pair if label}
        assert named <= LABELS, query
        assert query.count("(") == query.count(")"), query
        for name in re.findall(r"(backdrop_\w+)(?:\{[^}]*\})?\[", query):
            assert name.endswith(("_total", "_bucket", "_sum", "_count")), f"rate of {name}"


def test_its_panels_lie_beside_each_other_on_the_grid(dashboard: dict[str, Any]):
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        mine = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not mine & cells, panel["title"]
        cells |= mine
    for panel in panels_of(dashboard):
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert [each["name"] for each in dashboard["templating"]["list"]] == ["datasource"]
