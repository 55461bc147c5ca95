"""Row 22: the same image and mask again, with a new prompt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from engine.engine import Engine
from engine.job import GenerationJob
from scripts.benchmark.bench import Bench
from scripts.benchmark.call_clock import vae_encode_clock
from scripts.benchmark.engine_jobs import engine_of, job_of
from scripts.benchmark.pairs import Pairs
from scripts.benchmark.row import Limit, Measure, ratio_measure

NUM_STEPS = 6
MUST = 0.97
AIM_SAVED = 0.9  # of the time that encoding the image takes the first time


def repeated_image(bench: Bench) -> Sequence[Measure]:
    """On M: a mask never seen, then the same one with another prompt and seed.

    The two cannot change places, so that the machine's drift within a pair goes into the spread.
    """
    shape, engine = bench.shape("M"), engine_of(bench, "M")
    first_s, again_s, encode_first_s, encode_again_s = [], [], [], []
    for number in range(bench.sizes.rounds + 1):
        first = job_of(shape, 2 * number, num_inference_steps=NUM_STEPS)
        again = job_of(
            shape, 2 * number + 1, foreground=first.foreground, num_inference_steps=NUM_STEPS
        )
        taken_s, encoding_s = _times(engine, first)
        taken_again_s, encoding_again_s = _times(engine, again)
        if number == 0:
            continue  # warms up
        first_s.append(taken_s)
        again_s.append(taken_again_s)
        encode_first_s.append(encoding_s)
        encode_again_s.append(encoding_again_s)
    pairs = Pairs(tuple(again_s), tuple(first_s))
    encoding_s = median(encode_first_s)
    aim = 1 - AIM_SAVED * encoding_s / median(first_s)
    return [
        ratio_measure(
            "same image and mask, new prompt / first time",
            pairs,
            Limit(must=MUST, aim=min(MUST, aim)),
            note="the aim is 90 % of the encoding saved, in these units",
        ),
        Measure("encoding the image the first time", 1e3 * encoding_s, "ms"),
        Measure("part of it that is saved", 1 - sum(encode_again_s) / sum(encode_first_s)),
    ]


def _times(engine: Engine, job: GenerationJob) -> tuple[float, float]:
    """Seconds of the whole job, and of the VAE encodings within."""
    with vae_encode_clock(tiny=False) as clock:
        started = time.perf_counter()
        engine.generate(job)
        taken_s = time.perf_counter() - started
    return taken_s, clock.seconds
