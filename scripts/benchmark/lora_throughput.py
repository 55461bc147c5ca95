"""Rows 11 and 12: requests of other LoRAs, one after the other and all in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from engine.engine import Engine
from engine.job import AdapterWeight, GenerationJob
from scripts.benchmark.bench import Bench
from scripts.benchmark.call_clock import unet_clock
from scripts.benchmark.engine_jobs import job_of, run_together
from scripts.benchmark.lora_set import NUM_LORAS, write_lora_set
from scripts.benchmark.pairs import Pairs, alternate, timed
from scripts.benchmark.row import Limit, Measure, ratio_measure
from scripts.benchmark.shapes import Shape

ALTERNATING_LIMIT = Limit(must=0.85, aim=0.95, at_least=True)
MIXED_LIMIT = Limit(must=0.7, aim=0.9, at_least=True)
WEIGHT = 0.8


def alternating(bench: Bench) -> Sequence[Measure]:
    """Request by request: the next of eight LoRAs each time, or that of the last request again."""
    shape = bench.shape("M")
    loras = write_lora_set(shape, bench.model_folder("M"), bench.scratch("loras"))
    engine = Engine(loras.registry)
    seeds = count()
    current = 0

    def request() -> None:
        adapters = (AdapterWeight(loras.names[current], WEIGHT),)
        engine.generate(job_of(shape, seed=next(seeds), adapters=adapters))

    def request_of_the_next() -> None:
        nonlocal current
        current = (current + 1) % NUM_LORAS
        request()

    for _ in range(NUM_LORAS):
        request_of_the_next()  # all of them in memory
    pairs = alternate(timed(request), timed(request_of_the_next), rounds=2 * bench.sizes.rounds)
    name = f"throughput, another of {NUM_LORAS} LoRAs each request / the same throughout"
    return [ratio_measure(name, pairs, ALTERNATING_LIMIT)]  # that of throughputs: time b / time a


def mixed(bench: Bench) -> Sequence[Measure]:
    """Eight requests in flight at once: eight LoRAs against one, and one against none."""
    return [*_mixed(bench, "T", bench.sizes.rounds), *_mixed(bench, "M", bench.sizes.few_rounds)]


def _mixed(bench: Bench, name: str, rounds: int) -> Sequence[Measure]:
    shape = bench.shape(name)
    loras = write_lora_set(shape, bench.model_folder(name), bench.scratch("loras"))
    engine = Engine(loras.registry)
    eight = _requests(shape, loras.names)
    one = _requests(shape, loras.names[:1] * NUM_LORAS)
    none = [job_of(shape, number) for number in range(NUM_LORAS)]

    def pairs(a: list[GenerationJob], b: list[GenerationJob]) -> Pairs:
        # A ratio of throughputs: the time of B over that of A.
        return alternate(
            timed(lambda: run_together(engine, b)),
            timed(lambda: run_together(engine, a)),
            rounds=rounds,
        )

    return [
        ratio_measure(
            f"throughput, 8 LoRAs in one batch / one LoRA, {name}", pairs(eight, one), MIXED_LIMIT
        ),
        ratio_measure(f"throughput, one LoRA / none, {name}", pairs(one, none), None),
        _most_together(engine, eight, name),
    ]


def _requests(shape: Shape, names: Sequence[str]) -> list[GenerationJob]:
    """One request a name."""
    return [
        job_of(shape, number, adapters=(AdapterWeight(name, WEIGHT),))
        for number, name in enumerate(names)
    ]


def _most_together(engine: Engine, jobs: Sequence[GenerationJob], name: str) -> Measure:
    """That they did share forwards."""
    rows: list[int] = []
    with unet_clock(lambda _unet, sample, *_, **__: rows.append(len(sample))):
        run_together(engine, jobs)
    return Measure(f"most images in one forward, {name}", max(rows) / 2, "images")
