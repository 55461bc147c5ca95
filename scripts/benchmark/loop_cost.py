"""Row 8: what the step loop adds to each UNet forward, ours and diffusers' own.

Both sides are timed from the end of a UNet forward to the start of the next one, within one run
each: sampler step, guidance, and all that is laid together for the next forward. A difference of
two long times would drown in their noise; this is a short time by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch

from engine.engine import Engine
from scripts.benchmark.bench import Bench
from scripts.benchmark.call_clock import CallClock, unet_clock
from scripts.benchmark.engine_jobs import engine_of, job_of
from scripts.benchmark.pairs import alternate
from scripts.benchmark.row import Limit, Measure, ratio_measure
from scripts.benchmark.shapes import Shape
from scripts.benchmark.workload import request_of
from scripts.benchmark.yardsticks import load_pipeline

LIMIT = Limit(must=1.2, aim=0.6)
NUM_STEPS = 30


def loop_cost(bench: Bench) -> Sequence[Measure]:
    """One image alone, then four in one forward, on shape T; diffusers makes the same batch."""
    shape = bench.shape("T")
    engine, pipeline = engine_of(bench, "T"), load_pipeline(bench.model_folder("T"))
    rounds = bench.sizes.rounds
    return [
        *_compare(engine, pipeline, shape, 1, rounds, LIMIT),
        *_compare(engine, pipeline, shape, 4, rounds, None),
        _forward_in_the_loop(engine, shape, rounds),
    ]


def _compare(
    engine: Engine, pipeline: Any, shape: Shape, num_images: int, rounds: int, limit: Limit | None
) -> Sequence[Measure]:
    pairs = alternate(
        lambda: _median_pause_s(partial(_run_ours, engine, shape, num_images), num_images),
        lambda: _median_pause_s(partial(_run_theirs, pipeline, shape, num_images), num_images),
        rounds=rounds,
    )
    images = "one image" if num_images == 1 else f"{num_images} images"
    return [
        ratio_measure(f"loop cost a step / diffusers' own, {images}", pairs, limit),
        Measure(f"loop cost a step, ours, {images}", 1e3 * median(pairs.a), "ms"),
        Measure(f"loop cost a step, diffusers, {images}", 1e3 * median(pairs.b), "ms"),
    ]


def _run_ours(engine: Engine, shape: Shape, num_images: int) -> None:
    engine.generate(job_of(shape, num_images=num_images, num_inference_steps=NUM_STEPS))


def _run_theirs(pipeline: Any, shape: Shape, num_images: int) -> None:
    request = request_of(shape, num_steps=NUM_STEPS)
    pipeline(
        prompt=[request.prompt] * num_images,
        negative_prompt=[request.negative_prompt] * num_images,
        image=request.foreground.convert("RGB"),
        mask_image=request.foreground.getchannel("A").point(lambda alpha: 255 - alpha),
        width=shape.canvas_px,
        height=shape.canvas_px,
        num_inference_steps=NUM_STEPS,
        guidance_scale=request.guidance_scale,
        strength=1.0,
        generator=torch.Generator().manual_seed(request.seed),
        output_type="latent",
    )


def _median_pause_s(run: Callable[[], None], num_images: int) -> float:
    rows: list[int] = []
    with unet_clock(lambda _unet, sample, *_, **__: rows.append(len(sample))) as clock:
        run()
    assert rows == [2 * num_images] * NUM_STEPS, f"forwards of other sizes: {rows}"
    return clock.median_pause_s


def _forward_in_the_loop(engine: Engine, shape: Shape, rounds: int) -> Measure:
    """The forwards of a run against the same forwards called bare: the loop must not slow them."""
    arguments: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def in_the_loop() -> float:
        arguments.clear()
        with unet_clock(lambda *args, **kwargs: arguments.append((args, kwargs))) as clock:
            _run_ours(engine, shape, 1)
        return _median_s(clock)

    def bare() -> float:
        with torch.inference_mode(), unet_clock() as clock:
            for (unet, *args), kwargs in arguments:
                unet(*args, **kwargs)
        return _median_s(clock)

    in_the_loop()
    pairs = alternate(in_the_loop, bare, rounds=rounds)
    return ratio_measure("UNet forward within our loop / bare", pairs, None)


def _median_s(clock: CallClock) -> float:
    return median(call.seconds for call in clock.calls)
