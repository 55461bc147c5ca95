"""Rows 1 and 2: one request at a time over HTTP, beside diffusers' own pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.benchmark.bench import Bench
from scripts.benchmark.pairs import alternate, timed
from scripts.benchmark.row import Limit, Measure, Row, ratio_measure
from scripts.benchmark.server import serving
from scripts.benchmark.workload import request_of
from scripts.benchmark.yardsticks import Yardstick, load_pipeline

_NOTE = (
    "from the sending of a signed body to the PNG's last byte; the client polls only when the "
    "picture is nearly due"
)


def one_request(bench: Bench) -> Sequence[Measure]:
    """Row 1 on M, and told beside it on F."""
    measures = [_over_http(bench, "M", bench.sizes.rounds, Limit(must=1.05, aim=1.02))]
    if bench.sizes.full_shape:
        measures.append(_over_http(bench, "F", 1, None))
    return measures


def _over_http(bench: Bench, shape_name: str, rounds: int, limit: Limit | None) -> Measure:
    request = request_of(bench.shape(shape_name))
    yardstick = Yardstick(load_pipeline(bench.model_folder(shape_name)))
    with serving(bench, shape_name) as server:
        client = server.client()
        body = client.generate_body(request)
        client.warm_up(body)
        pairs = alternate(
            timed(lambda: client.generate(body)),
            timed(lambda: yardstick.b0(request)),
            rounds=rounds,
        )
        client.close()
    return ratio_measure(f"time / B0, {shape_name}", pairs, limit, note=_NOTE)


def large_picture(bench: Bench) -> Sequence[Measure]:
    """Row 2: 2560x2560 with next to no model, so that images and transport are what is timed."""
    request = request_of(bench.shape("STUB"))
    yardstick = Yardstick(load_pipeline(bench.model_folder("STUB")))
    with serving(bench, "STUB") as server:
        client = server.client()
        body = client.generate_body(request)
        client.warm_up(body)
        pairs = alternate(
            timed(lambda: client.generate(body)),
            timed(lambda: yardstick.b1(request)),
            rounds=bench.sizes.few_rounds,
        )
        client.close()
    return [ratio_measure("time / B1", pairs, Limit(must=0.6, aim=0.35), note=_NOTE)]


ROWS = (
    Row(1, "one request over HTTP", one_request, "M"),
    Row(2, "one request at 2560x2560, the denoiser stubbed out", large_picture, "STUB"),
)
