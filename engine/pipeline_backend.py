"""Jobs of pipeline models in the engine's loop: one at a time, a step at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from engine.errors import EngineError
from engine.events import Event, JobDone, all_failed
from engine.inpaint_pipeline import InpaintPipeline
from engine.pipeline_run import MemoryWanted, run_pipeline_job
from engine.plan import GenerationPlan
from engine.prepare import Canvas
from engine.stepwise import Stepwise


@dataclass(frozen=True, slots=True)
class _Running:
    plan: GenerationPlan
    run: Stepwise[Event | MemoryWanted]


class PipelineBackend:
    """Runs the job it is given; it takes another one when that has ended.

    A pipeline keeps the state of a call in itself, and paints one image at a time.
    """

    def __init__(self) -> None:
        self._running: _Running | None = None
        self.wants_memory = False

    @property
    def plan(self) -> GenerationPlan | None:
        """Of the job that runs."""
        return None if self._running is None else self._running.plan

    def start(self, plan: GenerationPlan, canvas: Canvas, model: InpaintPipeline) -> None:
        """Takes a job; nothing of it is done before the first `step`."""
        assert self._running is None, "one job at a time"
        self._running = _Running(plan, Stepwise(partial(run_pipeline_job, plan, canvas, model)))

    def step(self) -> list[Event]:
        """Goes on to the job's next event: a step of the pipeline, or the end of an image.

        No event, and `wants_memory` set, where the device is full: the next call tries the image
        once more.
        """
        assert self._running is not None
        self.wants_memory = False
        try:
            reported = self._running.run.next()
        except EngineError as exc:
            job = self._running.plan.job
            self._end()
            return all_failed(job, exc)
        if isinstance(reported, MemoryWanted):
            self.wants_memory = True
            return []
        assert reported is not None, "the last event of a job is JobDone"
        if isinstance(reported, JobDone):
            self._end()
        return [reported]

    def cancel(self) -> None:
        """Ends the job where it stands; no event follows."""
        self._end()

    def _end(self) -> None:
        running, self._running = self._running, None
        self.wants_memory = False
        if running is not None:
            running.run.close()
