"""The table as a picture: every number as a share of what it must reach."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # a window is no place for it

from matplotlib import pyplot

from scripts.benchmark.outcome import Run
from scripts.benchmark.row import Limit, Measure

_COLORS = {"aim": "#2a7d4f", "must": "#7fb37a", "missed": "#c0504d"}
_LOW, _HIGH = 0.02, 50.0


def draw(run: Run, path: Path) -> None:
    """A bar a number with a limit: 1 is what it must reach, to the left is better."""
    bars = [
        (f"{outcome.row.number}  {outcome.row.title}\n{measure.name}", measure, measure.limit)
        for outcome in run.outcomes
        for measure in outcome.measures
        if measure.limit is not None
    ]
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.42 * max(1, len(bars))), dpi=100)
    for place, (_, measure, limit) in enumerate(bars):
        share = _share(measure.value, limit)
        axes.barh(place, share, color=_COLORS[measure.verdict], height=0.6)
        axes.plot([_share(limit.aim, limit)] * 2, [place - 0.4, place + 0.4], color="black", lw=1.5)
        axes.text(share * 1.05, place, _label(measure), va="center", fontsize=7)
    axes.axvline(1.0, color="black", lw=0.8, ls="--")
    axes.set_yticks(range(len(bars)), [label for label, _, _ in bars], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(_LOW, _HIGH)
    axes.set_xlabel(
        "share of what must be reached (dashed); a stroke marks the aim; left is better"
    )
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _share(value: float, limit: Limit) -> float:
    """Below 1 the limit is kept; bounded, for the axis. A limit of 0 is kept or not."""
    if limit.must == 0 and not limit.at_least:
        return 1.0 if value <= 0 else _HIGH
    if limit.at_least:
        value, bound = limit.must, value
    else:
        bound = limit.must
    share = value / bound if bound > 0 else _HIGH  # a throughput of 0
    return min(_HIGH, max(_LOW * 1.1, share))


def _label(measure: Measure) -> str:
    return f"{measure.value:.3g} {measure.unit}".strip()
