"""Running jobs in tests and comparing what they give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from engine.engine import Engine
from engine.events import Event, ImageDone
from engine.job import GeneratedImage, GenerationJob


def embedded(product: Image.Image, **changes: Any) -> GenerationJob:
    job = GenerationJob(
        job_id="job",
        model_name="PICPIK General",
        foreground=product,
        prompt="blue sky, white clouds",
        num_inference_steps=6,
    )
    return replace(job, **changes)


def drain(engine: Engine) -> list[Event]:
    events: list[Event] = []
    while engine.busy:
        engine.wait()
        events += engine.step()
    return events


def images(events: list[Event], job_id: str) -> list[GeneratedImage]:
    done = [e.image for e in events if isinstance(e, ImageDone) and e.job_id == job_id]
    return sorted(done, key=lambda image: image.image_index)


def array(image: GeneratedImage) -> np.ndarray:
    return np.asarray(image.image).astype(int)


def assert_same_image(image: GeneratedImage, other: GeneratedImage) -> None:
    """Law 3 in float32: no byte off by more than 1, 99.9 % identical."""
    difference = np.abs(array(image) - array(other))
    assert difference.max() <= 1
    assert (difference == 0).mean() >= 0.999
