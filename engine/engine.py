"""The engine: `add(job)`, `step() -> events`, `cancel(id)`; `generate(job)` is that loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Unpack

import torch

from engine.compiled_blocks import compile_blocks
from engine.default_dtype import stepping
from engine.denoise import advance, hand_out, predict
from engine.device_profile import ProfileOptions, device_profile
from engine.encoding_cache import DEFAULT_MAX_BYTES, EncodingCache
from engine.errors import EngineError, NonFiniteResult, as_engine_error
from engine.events import Event, ImageDone, ImageFailed, JobDone, StepDone, all_failed
from engine.finish import finish_image, finish_lane
from engine.inpaint_pipeline import InpaintPipeline
from engine.job import GeneratedImage, GenerationJob
from engine.joined_rows import RowCache, max_rows_of
from engine.lane_queue import LaneQueue
from engine.lanes import Lane, Piece, next_lane, open_lane
from engine.loaded_model import LoadedModel
from engine.memory import empty_cache
from engine.model_cache import ModelCache
from engine.open_job import OpenJob, Part
from engine.pipeline_backend import PipelineBackend
from engine.plan import GenerationPlan, plan_job
from engine.prepare import Canvas, PreparedJob, prepare_canvas, prepare_in_float32, prepare_job
from engine.preview import Previews
from engine.registry import Registry
from engine.run_alone import run_alone
from engine.stage import Outcome, Stage
from engine.sweep_run import run_sweep
from engine.tally import Tally
from engine.waiting_jobs import Admitted, WaitingJobs

# How often an engine looks again whether those who wait for a checkpoint or for memory may begin.
WAITING_POLL_S = 0.1


class Engine:
    """Runs jobs on one device. Not thread-safe but for `wake`: one thread owns it.

    That thread runs the UNet. What comes before (resizing, VAE encoding, LoRA files, text encoding)
    and after (VAE decoding, compositing) runs on two threads beside it.

    Args:
        registry: the models it may use.
        device: torch device.
        batch_invariant: give every forward of a size the same row count, so that an image does
            not depend on its neighbours by even a rounding (law 3), at the price of idle rows.
        max_lanes: tiles of one forward, fewer where they are large.
        encoding_cache_bytes: memory of encoded images and prompts that may come again; None for
            `encoding_cache.DEFAULT_MAX_BYTES`.
        options: of `device_profile`.

    Attributes:
        profile: how the device is used.
        tally: what was done so far.

    Raises:
        CompilerMissing: see `device_profile`.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        device: str | torch.device = "cpu",
        batch_invariant: bool = False,
        max_lanes: int = 16,
        encoding_cache_bytes: int | None = None,
        **options: Unpack[ProfileOptions],
    ) -> None:
        self.registry = registry
        self.device = torch.device(device)
        self.profile = device_profile(self.device, **options)
        self._changed = threading.Event()
        self._models = ModelCache(
            device=self.device,
            dtype=self.profile.dtype,
            device_bytes=self.profile.device_bytes,
            host_bytes=self.profile.host_bytes,
            signal=self._changed,
        )
        self._batch_invariant = batch_invariant
        self._lanes = LaneQueue(
            max_lanes=max_lanes,
            max_latent_area=self.profile.max_latent_area,
            mix_adapters=not batch_invariant,
        )
        self._rows = RowCache()
        self.encodings = EncodingCache(
            DEFAULT_MAX_BYTES if encoding_cache_bytes is None else encoding_cache_bytes
        )
        self.tally = Tally(self.device, self.encodings, self._models)
        self._waiting = WaitingJobs()
        self._jobs: dict[str, OpenJob] = {}
        self._preparing: Stage[Part, PreparedJob | Canvas] = Stage("prepare", self._changed)
        self._finishing: Stage[Part, GeneratedImage] = Stage("finish", self._changed)
        self._previews = Previews(self._changed)
        self._pipelines = PipelineBackend()

    @property
    def busy(self) -> bool:
        """Whether any job has not ended."""
        return bool(self._waiting or self._jobs or self._pipelines.plan is not None)

    @property
    def loaded_models(self) -> tuple[str, ...]:
        """Names of the checkpoints on the device."""
        return self._models.names

    def add(self, job: GenerationJob) -> GenerationPlan:
        """Accepts a job; its images come out of later `step` calls.

        Raises:
            JobError: the job cannot be done as asked.
            WeightsUnavailable: the model's configs are broken.
            ValueError: a job of that id is already here.
        """
        if self._holds(job.job_id):
            raise ValueError(f"job {job.job_id!r} was added already")
        plan = plan_job(job, self.registry)
        self._waiting.add(plan)
        self._changed.set()
        return plan

    def cancel(self, job_id: str) -> bool:
        """Drops a job and its lanes; no event follows. False when there is no such job.

        What a thread is doing for it goes on to its end and is thrown away.
        """
        held = self._holds(job_id)
        self._waiting.remove(job_id)
        self._jobs.pop(job_id, None)
        self._lanes.remove_job(job_id)
        if self._pipelines.plan is not None and self._pipelines.plan.job.job_id == job_id:
            self._pipelines.cancel()
        return held

    def generate(
        self, job: GenerationJob, on_event: Callable[[Event], None] | None = None
    ) -> list[GeneratedImage]:
        """Runs one job alone and returns its images in order.

        Args:
            job: what to make.
            on_event: sees every event as it comes, for a progress bar.

        Raises:
            EngineError: as `add`, or the error of the first image that failed.
            RuntimeError: the engine is already running jobs added by `add`.
        """
        return run_alone(self, job, on_event)

    sweep = run_sweep  # a method: its first argument is the engine

    def step(self) -> list[Event]:
        """Takes in what the threads have done, runs one UNet forward and hands on what it completed.

        A job on a pipeline of diffusers goes on by one of its steps beside that. Never waits for a
        thread: with nothing to run it returns at once, and `wait` sleeps until that changes.
        """
        self._changed.clear()
        with stepping():
            events = self._previews.collect(self._jobs)
            for finished in self._finishing.collect():
                events += self._finished(finished)
            for prepared in self._preparing.collect():
                events += self._prepared(prepared)
            if self._waiting:
                events += self._admit_all()
            pieces = self._lanes.next_pieces()
            if pieces:
                events += self._forward(pieces)
            if not self._lanes:
                self._rows.clear()
            if self._pipelines.plan is not None:
                events += self._step_pipeline()
        self.tally.events(events)
        return events

    def wait(self, timeout_s: float | None = None) -> None:
        """Returns when `step` may have something to do, after `wake`, or after `timeout_s`."""
        if self._lanes or self._pipelines.plan is not None:
            return
        if self._waiting:  # for memory or a checkpoint, of which not everything gives a signal
            timeout_s = WAITING_POLL_S if timeout_s is None else min(timeout_s, WAITING_POLL_S)
        self._changed.wait(timeout_s)

    def wake(self) -> None:
        """Ends a `wait`, also from another thread."""
        self._changed.set()

    # --- admit and prepare ---

    def _admit_all(self) -> list[Event]:
        events: list[Event] = []
        while (admitted := self._next_admitted()) is not None:
            if admitted.error is not None:
                events += all_failed(admitted.plan.job, admitted.error)
            else:
                events += self._admit(admitted.plan, admitted.model)
        return events

    def _next_admitted(self) -> Admitted | None:
        busy = self._pipelines.plan is not None
        return self._waiting.admit(self._models, self._in_use(), pipeline_is_busy=busy)

    def _in_flight(self) -> list[GenerationPlan]:
        """Plans of the jobs that are under way."""
        plans = [job.plan for job in self._jobs.values()]
        return plans if self._pipelines.plan is None else [*plans, self._pipelines.plan]

    def _holds(self, job_id: str) -> bool:
        plans = (*self._waiting.plans, *self._in_flight())
        return any(plan.job.job_id == job_id for plan in plans)

    def _in_use(self) -> set[str]:
        """Names of the models that images are in flight on."""
        return {plan.model.name for plan in self._in_flight()}

    def _admit(self, plan: GenerationPlan, model: LoadedModel | None) -> list[Event]:
        if isinstance(model, InpaintPipeline):
            try:
                self._pipelines.start(plan, prepare_canvas(plan), model)
            except EngineError as exc:
                return all_failed(plan.job, exc)
            return []
        if model is not None and self.profile.kernels == "compiled":
            compile_blocks(model.unet)
        images = tuple(range(plan.job.num_images))
        job = self._jobs[plan.job.job_id] = OpenJob(plan, model, set(images))
        self._prepare(Part(job, images))
        return []

    def _prepare(self, part: Part) -> None:
        plan, checkpoint = part.job.plan, part.job.checkpoint
        if checkpoint is None:
            self._preparing.submit(part, partial(prepare_canvas, plan))
        elif part.in_float32:
            self._preparing.submit(part, partial(prepare_in_float32, plan, checkpoint))
        else:
            self._preparing.submit(part, partial(prepare_job, plan, checkpoint, self.encodings))

    def _prepared(self, outcome: Outcome[Part, PreparedJob | Canvas]) -> list[Event]:
        """Opens a lane for each image, or finishes them where nothing is to be denoised."""
        part = outcome.key
        if part.job.checkpoint is not None:
            self.tally.loras(part.job.checkpoint.adapters)
        if not self._is_open(part):
            return []
        try:
            prepared = outcome.result()
            if isinstance(prepared, PreparedJob):
                for lane in [open_lane(prepared, index) for index in part.images]:
                    self._lanes.add(lane)
        except torch.OutOfMemoryError as exc:
            return self._not_prepared_for_memory(part, exc)
        except EngineError as exc:
            return self._all_ended(part, exc)
        if isinstance(prepared, Canvas):
            self._finish_reference(part, prepared)
        return []

    def _not_prepared_for_memory(self, part: Part, exc: torch.OutOfMemoryError) -> list[Event]:
        """Idle checkpoints out, else other jobs first; a job that does not fit alone fails."""
        empty_cache(self.device)
        if self._models.release(self._in_use()):
            self._prepare(part)
            return []
        if len(self._in_flight()) > 1 and not part.in_float32:
            del self._jobs[part.job.job_id]
            self._waiting.put_back(part.job.plan)
            return []
        return self._all_ended(part, as_engine_error(exc))

    # --- pipelines ---

    def _step_pipeline(self) -> list[Event]:
        """Goes on with the pipeline's job, but where it lacks memory only once there is more."""
        if self._pipelines.wants_memory:
            empty_cache(self.device)
            if not self._models.release(self._in_use()) and self._jobs:
                self._waiting.hold()
                return []
        begun = self.tally.begin()
        events = self._pipelines.step()
        self.tally.pipeline(begun, events)
        return events

    # --- forward and advance ---

    def _forward(self, pieces: list[Piece]) -> list[Event]:
        min_rows = 0
        if self._batch_invariant:
            min_rows = max_rows_of(pieces[0].lane) * self._lanes.lanes_per_forward(pieces[0].lane)
        begun = self.tally.begin()
        try:
            outputs = predict(pieces, self._rows.get(pieces, min_rows))
        except torch.OutOfMemoryError as exc:
            return self._after_out_of_memory(pieces, exc)
        complete = hand_out(pieces, outputs)
        self._previews.look(self._jobs, complete)
        advance(complete)
        self.tally.forward(begun, pieces)
        events: list[Event] = []
        for lane in complete:
            events.append(StepDone(lane.job_id, lane.image_index, *lane.steps_done))
            if lane.state.is_finished:
                events += self._pass_done(lane)
        return events

    def _after_out_of_memory(self, pieces: list[Piece], exc: torch.OutOfMemoryError) -> list[Event]:
        """Idle checkpoints out, then a smaller group; an image that does not fit alone fails.

        With `batch_invariant` a smaller group is padded to the same rows and would not fit either.
        """
        empty_cache(self.device)
        if self._models.release(self._in_use()):
            return []
        if len(pieces) > 1 and not self._batch_invariant:
            self._lanes.halve(pieces)
            return []
        lane = pieces[0].lane
        self._lanes.remove(lane)
        return self._all_ended(self._part_of(lane), as_engine_error(exc))

    def _pass_done(self, lane: Lane) -> list[Event]:
        """Sends the lane's image into its next pass, or out."""
        if lane.pass_index + 1 == len(lane.prepared.plan.passes):
            self._lanes.remove(lane)
            self._finish(lane)
            return []
        try:
            self._lanes.replace(lane, next_lane(lane))
        except (EngineError, torch.OutOfMemoryError) as exc:
            self._lanes.remove(lane)
            return self._failed(self._part_of(lane), exc)
        return []

    # --- finish ---

    def _part_of(self, lane: Lane) -> Part:
        in_float32 = lane.checkpoint.dtype is torch.float32
        return Part(self._jobs[lane.job_id], (lane.image_index,), in_float32=in_float32)

    def _finish(self, lane: Lane) -> None:
        work = partial(finish_lane, lane.state.latents, lane.prepared, lane.image_index)
        self._finishing.submit(self._part_of(lane), work)

    def _finish_reference(self, part: Part, canvas: Canvas) -> None:
        """At strength 0 the reference is the background."""
        assert canvas.reference is not None, "strength 0 has a reference"
        for index in part.images:
            work = partial(finish_image, canvas.reference, canvas, part.job.plan, index)
            self._finishing.submit(Part(part.job, (index,)), work)

    def _finished(self, outcome: Outcome[Part, GeneratedImage]) -> list[Event]:
        part = outcome.key
        if not self._is_open(part):
            return []
        try:
            image = outcome.result()
        except (EngineError, torch.OutOfMemoryError) as exc:
            return self._failed(part, exc)
        return self._ended(image.job_id, ImageDone(image.job_id, image))

    def _failed(self, part: Part, exc: EngineError | torch.OutOfMemoryError) -> list[Event]:
        """What came out as NaN in a narrow type is tried once more in float32."""
        has_narrow_type = part.job.checkpoint is not None and not part.in_float32
        if isinstance(exc, NonFiniteResult) and has_narrow_type:
            self._prepare(replace(part, in_float32=True))
            return []
        return self._all_ended(part, as_engine_error(exc))

    def _all_ended(self, part: Part, error: EngineError) -> list[Event]:
        job_id = part.job.job_id
        failures = [ImageFailed(job_id, index, error) for index in part.images]
        return [event for failure in failures for event in self._ended(job_id, failure)]

    def _ended(self, job_id: str, last: ImageDone | ImageFailed) -> list[Event]:
        """The end of an image, and of its job with the last one."""
        index = last.image.image_index if isinstance(last, ImageDone) else last.image_index
        job = self._jobs[job_id]
        job.open_images.discard(index)
        if job.open_images:
            return [last]
        del self._jobs[job_id]
        return [last, JobDone(job_id)]

    def _is_open(self, part: Part) -> bool:
        """Whether its job was not cancelled meanwhile."""
        return self._jobs.get(part.job.job_id) is part.job
