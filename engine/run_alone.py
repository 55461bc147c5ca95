"""One job on an idle engine: the loop that every other user of `add` and `step` writes itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.events import Event, ImageDone, ImageFailed
from engine.job import GeneratedImage, GenerationJob

if TYPE_CHECKING:
    from engine.engine import Engine


def run_alone(
    engine: Engine, job: GenerationJob, on_event: Callable[[Event], None] | None
) -> list[GeneratedImage]:
    """See `Engine.generate`."""
    if engine.busy:
        raise RuntimeError("generate() needs an idle engine; use add() and step()")
    engine.add(job)
    images: list[GeneratedImage] = []
    failures: list[EngineError] = []
    while engine.busy:
        engine.wait()
        for event in engine.step():
            if on_event is not None:
                on_event(event)
            if isinstance(event, ImageDone):
                images.append(event.image)
            elif isinstance(event, ImageFailed):
                failures.append(event.error)
    if failures:
        raise failures[0]
    return sorted(images, key=lambda image: image.image_index)
