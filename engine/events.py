"""What `Engine.step` reports; the only way anything goes up from the step loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.job import GeneratedImage, GenerationJob

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class StepDone:
    """One image advanced to `step` of `num_steps` UNet forwards (1-based, over all passes)."""

    job_id: str
    image_index: int
    step: int
    num_steps: int


@dataclass(frozen=True, slots=True)
class ImageDone:
    """One image is finished."""

    job_id: str
    image: GeneratedImage


@dataclass(frozen=True, slots=True)
class ImagePreview:
    """What one image looks like so far, for jobs that ask for previews.

    Attributes:
        job_id: the job it belongs to.
        image_index: its position there.
        picture: mode RGB, sRGB, in small, without the foreground laid over it.
    """

    job_id: str
    image_index: int
    picture: Image.Image


@dataclass(frozen=True, slots=True)
class ImageFailed:
    """One image ended without a result; the others of its job are unharmed."""

    job_id: str
    image_index: int
    error: EngineError


@dataclass(frozen=True, slots=True)
class JobDone:
    """Every image of the job has ended, each reported before as done or failed."""

    job_id: str


Event = StepDone | ImagePreview | ImageDone | ImageFailed | JobDone


def all_failed(job: GenerationJob, error: EngineError) -> list[Event]:
    """The end of a job of which nothing came out."""
    failed: list[Event] = [ImageFailed(job.job_id, index, error) for index in range(job.num_images)]
    return [*failed, JobDone(job.job_id)]
