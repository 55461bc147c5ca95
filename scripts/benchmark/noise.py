"""A against A: what a ratio of 1 looks like on this machine, before anything is compared."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.benchmark.bench import Bench
from scripts.benchmark.pairs import noise, timed
from scripts.benchmark.row import Measure, ratio_measure
from scripts.benchmark.workload import request_of
from scripts.benchmark.yardsticks import Yardstick, load_pipeline


def measure_noise(bench: Bench) -> Sequence[Measure]:
    """B0 against itself on T and M."""
    measures = []
    for name in ("T", "M"):
        request = request_of(bench.shape(name))
        yardstick = Yardstick(load_pipeline(bench.model_folder(name)))
        pairs = noise(timed(lambda: yardstick.b0(request)), rounds=bench.sizes.rounds)  # noqa: B023
        measures.append(ratio_measure(f"B0 / B0, {name}", pairs, None))
    return measures
