"""What the engine keeps of a job while images of it are under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.checkpoint import Checkpoint
from engine.plan import GenerationPlan


@dataclass(slots=True, eq=False)
class OpenJob:
    """An admitted job.

    Attributes:
        plan: of the job.
        checkpoint: what denoises it; None where its result is the reference itself.
        open_images: those without an end.
        preview_due_at: when an image may be shown next, by its position, on the monotonic clock.
    """

    plan: GenerationPlan
    checkpoint: Checkpoint | None
    open_images: set[int]
    preview_due_at: dict[int, float] = field(default_factory=dict)

    @property
    def job_id(self) -> str:
        """Its name."""
        return self.plan.job.job_id


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Images of a job that are prepared, or finished, together.

    Attributes:
        job: theirs.
        images: their positions in it.
        in_float32: whether they are tried again in float32, or were in float32 from the start.
    """

    job: OpenJob
    images: tuple[int, ...]
    in_float32: bool = False
