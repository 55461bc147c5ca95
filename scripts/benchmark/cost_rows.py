"""Row 7: what a request costs in CPU time beside the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.registry import load_registry
from scripts.benchmark.bench import Bench
from scripts.benchmark.pairs import spread
from scripts.benchmark.row import Limit, Measure, Row
from scripts.benchmark.server import serving
from scripts.benchmark.shapes import MODEL_NAME, MODELS_FILE, Shape
from scripts.benchmark.workload import request_of

_SIDE_PX = 512
_REQUESTS = 10  # of one sample: CPU clocks of processes tick a hundred times a second


def cpu_beside_the_model(bench: Bench) -> Sequence[Measure]:
    """All processes of the server, less the same forwards of the bare networks."""
    shape = bench.shape("STUB").at(_SIDE_PX)
    bodies = []
    with serving(bench, "STUB") as server:
        client = server.client()
        bodies = [client.generate_body(request_of(shape, index)) for index in range(_REQUESTS)]
        client.generate(bodies[0])
        samples = []
        for _ in range(bench.sizes.few_rounds):
            before = server.cpu_s()
            for body in bodies:
                client.generate(body)
            samples.append((server.cpu_s() - before) / len(bodies))
        client.close()
    model_s = _model_s(bench, shape)
    beside = [1000 * (sample - model_s) for sample in samples]
    return [
        Measure(
            "CPU time beside the model",
            median(beside),
            "ms",
            Limit(60, 25),
            spread(beside),
            {"all_s": samples, "model_s": [model_s]},
            f"{_SIDE_PX}x{_SIDE_PX}, all processes of the server, PNG included; the bare networks "
            f"take {1000 * model_s:.0f} ms of CPU time, which are taken off",
        )
    ]


def _model_s(bench: Bench, shape: Shape) -> float:
    """CPU seconds of the networks alone on one request's shapes."""
    registry = load_registry(bench.model_folder(shape.name).parent / MODELS_FILE)
    checkpoint = load_checkpoint(
        registry.main_model(MODEL_NAME), device=torch.device("cpu"), dtype=torch.float32
    )
    return _cpu_s(lambda: _forwards(checkpoint, shape), repeats=bench.sizes.rounds)


@torch.inference_mode()
def _forwards(checkpoint: Checkpoint, shape: Shape) -> None:
    width = checkpoint.unet.config.cross_attention_dim
    prompt_embeds = torch.zeros(2, 77, width)
    for encoder in checkpoint.text_encoders:
        encoder(torch.zeros(2, 77, dtype=torch.long))
    checkpoint.vae.encode(torch.zeros(1, 3, shape.canvas_px, shape.canvas_px))
    sample = torch.randn(2, 9, shape.latent_px, shape.latent_px)
    sample = sample.contiguous(memory_format=torch.channels_last)
    for _ in range(shape.num_steps):
        checkpoint.unet(sample, torch.tensor(500.0), prompt_embeds)
    checkpoint.vae.decode(sample[:1, :4])


def _cpu_s(work: Callable[[], object], *, repeats: int) -> float:
    """CPU seconds of one call on one thread: threads that wait for each other spin meanwhile."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        work()
        samples = []
        for _ in range(repeats):
            started = time.process_time()
            work()
            samples.append(time.process_time() - started)
    finally:
        torch.set_num_threads(num_threads)
    return median(samples)


ROWS = (Row(7, "CPU time of a request", cpu_beside_the_model, "STUB"),)
