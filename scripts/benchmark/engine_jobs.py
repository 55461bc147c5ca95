"""The measured requests as jobs of the engine, without a server around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.engine import Engine
from engine.events import ImageDone
from engine.job import GeneratedImage, GenerationJob
from engine.registry import load_registry
from scripts.benchmark.bench import Bench
from scripts.benchmark.shapes import MODEL_NAME, MODELS_FILE, Shape
from scripts.benchmark.workload import request_of


def engine_of(bench: Bench, shape_name: str, **options: Any) -> Engine:
    """A new engine on the model of a shape."""
    registry = load_registry(bench.model_folder(shape_name).parent / MODELS_FILE)
    return Engine(registry, **options)


def job_of(shape: Shape, index: int = 0, **changes: Any) -> GenerationJob:
    """Request number `index` of a shape; `changes` are fields of the job."""
    request = request_of(shape, index)
    fields: dict[str, Any] = {
        "job_id": f"job-{index}",
        "model_name": MODEL_NAME,
        "foreground": request.foreground,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "guidance_scale": request.guidance_scale,
        "seed": request.seed,
        "num_inference_steps": request.num_steps,
    }
    return GenerationJob(**fields | changes)


def run_together(engine: Engine, jobs: Sequence[GenerationJob]) -> list[GeneratedImage]:
    """All jobs at once, from their coming in to the last finished image; one image a job.

    Raises:
        RuntimeError: an image failed.
    """
    for each in jobs:
        engine.add(each)
    done: dict[str, GeneratedImage] = {}
    while engine.busy:
        engine.wait()
        done |= {e.job_id: e.image for e in engine.step() if isinstance(e, ImageDone)}
    if len(done) < len(jobs):
        raise RuntimeError(f"{len(jobs) - len(done)} of {len(jobs)} images failed")
    return [done[each.job_id] for each in jobs]
