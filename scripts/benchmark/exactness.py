"""Rows 5 and 13: what must not change by a bit. The tests of the same names are the proof."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np
import torch

from engine.checkpoint import load_checkpoint
from engine.engine import Engine
from engine.job import AdapterWeight, GeneratedImage, GenerationJob, Sampler
from scripts.benchmark.bench import Bench
from scripts.benchmark.call_clock import unet_clock
from scripts.benchmark.engine_jobs import engine_of, job_of, run_together
from scripts.benchmark.lora_set import write_lora_set
from scripts.benchmark.row import Limit, Measure
from scripts.benchmark.shapes import MODEL_NAME, Shape

NUM_SWITCHES = 100
MAX_DIFFERENCE = Limit(must=1, aim=1)
IDENTICAL = Limit(must=99.9, aim=99.9, at_least=True)
ALL_IDENTICAL = Limit(must=100, aim=100, at_least=True)
NONE = Limit(must=0, aim=0)


def batched_and_solo(bench: Bench) -> Sequence[Measure]:
    """Eight requests of eight samplers, together and each alone, in float32 on M."""
    shape = bench.shape("M")
    together, alone = _pixels(engine_of(bench, "M"), shape)
    difference = np.abs(together - alone)
    exact = engine_of(bench, "M", batch_invariant=True, max_lanes=2)
    exact_together, exact_alone = _pixels(exact, shape)
    return [
        Measure("largest difference of a byte", float(difference.max()), "", MAX_DIFFERENCE),
        Measure("identical bytes", 100 * float((difference == 0).mean()), "%", IDENTICAL),
        Measure(
            "identical bytes with batch_invariant",
            100 * float((exact_together == exact_alone).mean()),
            "%",
            ALL_IDENTICAL,
        ),
    ]


def _pixels(engine: Engine, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """The same requests' pictures, int16 (requests, H, W, 3): made together, and one by one."""
    jobs = [_job(shape, number, sampler) for number, sampler in enumerate(Sampler)]
    together = run_together(engine, jobs)
    alone = [engine.generate(each)[0] for each in jobs]
    return _stacked(together), _stacked(alone)


def _job(shape: Shape, number: int, sampler: Sampler) -> GenerationJob:
    return job_of(
        shape,
        number,
        sampler=sampler,
        num_inference_steps=6 + number % 3,
        guidance_scale=(1.0, 3.0, 7.5)[number % 3],
    )


def _stacked(images: Sequence[GeneratedImage]) -> np.ndarray:
    return np.stack([np.asarray(each.image) for each in images]).astype(np.int16)


def base_weights(bench: Bench) -> Sequence[Measure]:
    """A hundred requests on T, each with another LoRA than the last: the UNet against its file."""
    shape, model = bench.shape("T"), bench.model_folder("T")
    loras = write_lora_set(shape, model, bench.scratch("loras"))
    engine = Engine(loras.registry)
    used: set[torch.nn.Module] = set()
    with unet_clock(lambda unet, *_, **__: used.add(unet)):
        for number, name in enumerate(islice(cycle(loras.names), NUM_SWITCHES)):
            adapters = (AdapterWeight(name, 0.8),)
            engine.generate(job_of(shape, number, adapters=adapters, num_inference_steps=6))
    (unet,) = used
    read = load_checkpoint(
        loras.registry.main_model(MODEL_NAME), device=torch.device("cpu"), dtype=torch.float32
    )
    before, after = _digests(read.unet), _digests(unet)
    changed = sum(before[name] != after[name] for name in before)
    return [Measure(f"weights changed by {NUM_SWITCHES} switches", changed, "tensors", NONE)]


def _digests(model: torch.nn.Module) -> dict[str, bytes]:
    return {
        name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).digest()
        for name, tensor in model.state_dict().items()
    }
