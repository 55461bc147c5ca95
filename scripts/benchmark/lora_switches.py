"""Rows 9 and 10: going from one LoRA to another, and using one for the first time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from engine.adapters.rows import AdapterSet
from engine.checkpoint import Checkpoint, load_checkpoint
from engine.engine import Engine
from engine.events import StepDone
from engine.job import AdapterWeight
from scripts.benchmark.bench import Bench
from scripts.benchmark.call_clock import unet_clock
from scripts.benchmark.engine_jobs import job_of
from scripts.benchmark.lora_set import RANK, LoraSet, write_lora_set
from scripts.benchmark.pairs import alternate, spread
from scripts.benchmark.row import Limit, Measure, ratio_measure
from scripts.benchmark.shapes import MODEL_NAME, Shape
from scripts.benchmark.yardsticks import load_pipeline

SWITCH_LIMIT = Limit(must=0.5, aim=0.1)
FIRST_USE_LIMIT = Limit(must=0.3, aim=0.1)


@dataclass(frozen=True, slots=True)
class GuidedForward:
    """One UNet forward of two rows, as a guided step of one image has it."""

    checkpoint: Checkpoint
    side: int

    @torch.inference_mode()
    def seconds(self, adapters: AdapterSet = ()) -> float:
        """How long it takes with those LoRAs, from taking them up to letting go of them."""
        unet = self.checkpoint.unet
        sample = torch.zeros(2, int(unet.config.in_channels), self.side, self.side)
        sample = sample.contiguous(memory_format=torch.channels_last)
        prompt_embeds = torch.zeros(2, 77, int(unet.config.cross_attention_dim))
        started = time.perf_counter()
        with self.checkpoint.adapters.unet_rows([adapters, adapters]):
            unet(sample, 500.0, prompt_embeds, return_dict=False)
        return time.perf_counter() - started


def _loras_of(bench: Bench, shape: str) -> LoraSet:
    return write_lora_set(bench.shape(shape), bench.model_folder(shape), bench.scratch("loras"))


def _checkpoint(loras: LoraSet) -> Checkpoint:
    model = loras.registry.main_model(MODEL_NAME)
    return load_checkpoint(model, device=torch.device("cpu"), dtype=torch.float32)


def switch_in_memory(bench: Bench) -> Sequence[Measure]:
    """A forward with another LoRA than the last, less one with the same LoRA as the last."""
    shape, loras = bench.shape("M"), _loras_of(bench, "M")
    checkpoint = _checkpoint(loras)
    forward = GuidedForward(checkpoint, shape.latent_px)
    sets = [((checkpoint.adapters.lora(file), 0.8),) for file in loras.files[:2]]
    current = 0

    def switched() -> float:
        nonlocal current
        current = 1 - current
        return forward.seconds(sets[current])

    pairs = alternate(
        switched, lambda: forward.seconds(sets[current]), rounds=2 * bench.sizes.rounds, warmups=2
    )
    step_s = median(forward.seconds() for _ in range(bench.sizes.rounds))
    extra_s = [a - b for a, b in zip(pairs.a, pairs.b, strict=True)]
    return [
        Measure(
            "LoRA A to B, both in memory / one guided step",
            max(0.0, median(extra_s)) / step_s,
            limit=SWITCH_LIMIT,
            spread=spread(extra_s) / step_s,
            samples={"switched_s": pairs.a, "stayed_s": pairs.b},
            note=f"LoRAs of rank {RANK} on every projection of the transformer blocks",
        ),
        Measure("guided step without a LoRA", 1e3 * step_s, "ms"),
        Measure("guided step with one LoRA / without", median(pairs.b) / step_s),
    ]


def first_use(bench: Bench) -> Sequence[Measure]:
    """From a file never seen to its first forward done, less a forward with it; then out again.

    The file is in the page cache on both sides.
    """
    shape, loras = bench.shape("M"), _loras_of(bench, "M")
    checkpoint = _checkpoint(loras)
    forward = GuidedForward(checkpoint, shape.latent_px)
    pipeline = load_pipeline(loras.model)
    fresh = _FreshFiles(loras.files, bench.scratch("fresh"))

    def ours() -> float:
        file = fresh.next()
        started = time.perf_counter()
        adapters = ((checkpoint.adapters.lora(file), 0.8),)
        forward.seconds(adapters)
        first_s = time.perf_counter() - started
        return first_s - forward.seconds(adapters)

    def theirs() -> float:
        file = fresh.next()
        started = time.perf_counter()
        pipeline.load_lora_weights(file, adapter_name=file.stem)
        pipeline.set_adapters([file.stem], [0.8])
        _bare_forward_s(pipeline.unet, shape)
        loaded_s = time.perf_counter() - started
        again_s = _bare_forward_s(pipeline.unet, shape)
        started = time.perf_counter()
        pipeline.unload_lora_weights()
        return loaded_s - again_s + time.perf_counter() - started

    pairs = alternate(ours, theirs, rounds=bench.sizes.rounds)
    return [
        ratio_measure(
            "LoRA first use from disk / diffusers load, set, unload", pairs, FIRST_USE_LIMIT
        ),
        Measure("first use, ours", 1e3 * median(pairs.a), "ms", spread=1e3 * spread(pairs.a)),
        Measure("first use, diffusers", 1e3 * median(pairs.b), "ms", spread=1e3 * spread(pairs.b)),
        _pause_of_others(bench, shape, loras),
    ]


def _pause_of_others(bench: Bench, shape: Shape, loras: LoraSet) -> Measure:
    """The longest pause between the forwards of an image under way while a LoRA is loaded.

    Over the pauses until the newcomer's first step; less than a step means that it never waits.
    """
    fresh = _FreshFiles(loras.files, bench.scratch("streamed"))
    longest_s, step_s = [], []
    engine = Engine(loras.registry)
    engine.generate(job_of(shape))
    for number in range(bench.sizes.few_rounds):
        name = loras.names[number % len(loras.names)]
        shutil.copyfile(fresh.next(), loras.registry.sub_model(name).path)  # new to the engine
        engine.add(job_of(shape, 1, num_inference_steps=60))
        _step_until(engine, "job-1")
        with unet_clock() as clock:
            engine.add(job_of(shape, 2, adapters=(AdapterWeight(name, 0.8),)))
            _step_until(engine, "job-2")
        engine.cancel("job-1")
        engine.cancel("job-2")
        longest_s.append(max(clock.pauses))
        step_s.append(median(call.seconds for call in clock.calls))
    return Measure(
        "longest pause of an image under way while a LoRA is loaded / one guided step",
        median(longest_s) / median(step_s),
        samples={"longest_s": longest_s, "step_s": step_s},
    )


def _step_until(engine: Engine, job_id: str) -> None:
    """Until that job has made a step."""
    while True:
        engine.wait()
        if any(isinstance(each, StepDone) and each.job_id == job_id for each in engine.step()):
            return


class _FreshFiles:
    """LoRA files under names and dates that no one has seen."""

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self._files, self._folder = files, folder
        self._count = 0

    def next(self) -> Path:
        self._count += 1
        source = self._files[self._count % len(self._files)]
        path = self._folder / f"fresh-{self._count}.safetensors"
        shutil.copyfile(source, path)
        path.read_bytes()
        return path


@torch.inference_mode()
def _bare_forward_s(unet: Any, shape: Shape) -> float:
    sample = torch.zeros(2, int(unet.config.in_channels), shape.latent_px, shape.latent_px)
    prompt_embeds = torch.zeros(2, 77, int(unet.config.cross_attention_dim))
    started = time.perf_counter()
    unet(sample, 500.0, prompt_embeds, return_dict=False)
    return time.perf_counter() - started
