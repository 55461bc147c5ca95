"""The engine: `add(job)`, `step() -> events`, `cancel(id)`; `generate(job)` is that loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from PIL import Image

from engine.active_job import ActiveJob
from engine.checkpoint import Checkpoint
from engine.checkpoint_info import CheckpointInfo
from engine.default_dtype import stepping
from engine.denoise import advance, predict
from engine.errors import EngineError, GpuOutOfMemory
from engine.events import Event, ImageDone, ImageFailed, JobDone, StepDone, all_failed
from engine.finish import decode_background, finish_image, upscale_latents
from engine.inpaint_pipeline import InpaintPipeline
from engine.job import GeneratedImage, GenerationJob
from engine.lane_queue import LaneQueue
from engine.lanes import Lane, open_lane
from engine.loaded_model import LoadedModel
from engine.model_cache import ModelCache
from engine.pipeline_backend import PipelineBackend
from engine.pipeline_info import PipelineInfo
from engine.plan import GenerationPlan, plan_job
from engine.prepare import (
    Canvas,
    prepare_adapters,
    prepare_canvas,
    prepare_prompts,
)
from engine.registry import Registry

# Latent cells of one forward: 16 lanes of 64x64 (512x512 pixels) on a GPU; a CPU gains nothing
# from more than a few lanes and pays in cache misses.
MAX_LATENT_AREA = {"cuda": 16 * 64 * 64, "cpu": 4 * 64 * 64}
# An engine that waits for a checkpoint alone looks up so often, for its caller to cancel and add.
LOADING_WAIT_S = 0.1


class Engine:
    """Runs jobs on one device. Not thread-safe: one thread owns it.

    Args:
        registry: the models it may use.
        device: torch device.
        dtype: of UNet and text encoder; default float32 on the CPU, float16 elsewhere. Samplers,
            latents and noise are float32 always.
        batch_invariant: give every forward of a size the same row count, so that an image does
            not depend on its neighbours by even a rounding (law 3), at the price of idle rows.
        device_bytes: what loaded checkpoints may take of the device; default a share of it.
        host_bytes: what copies of them in host memory may take; default a share of it.
        max_lanes: images of one forward, fewer where the canvas is large.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        batch_invariant: bool = False,
        device_bytes: int | None = None,
        host_bytes: int | None = None,
        max_lanes: int = 16,
    ) -> None:
        self.registry = registry
        self.device = torch.device(device)
        if dtype is None:
            dtype = torch.float32 if self.device.type == "cpu" else torch.float16
        self._models = ModelCache(
            device=self.device, dtype=dtype, device_bytes=device_bytes, host_bytes=host_bytes
        )
        self._batch_invariant = batch_invariant
        self._lanes = LaneQueue(
            max_lanes=max_lanes,
            max_latent_area=MAX_LATENT_AREA.get(self.device.type, MAX_LATENT_AREA["cuda"]),
            mix_adapters=not batch_invariant,
        )
        self._waiting: deque[GenerationPlan] = deque()
        self._active: dict[str, ActiveJob] = {}
        self._pipelines = PipelineBackend()
        self._memory_is_full = False

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._waiting or self._in_flight())

    def add(self, job: GenerationJob) -> GenerationPlan:
        """Accepts a job; its images come out of later `step` calls.

        Raises:
            JobError: the job cannot be done as asked.
            WeightsUnavailable: the model's configs are broken.
            ValueError: a job of that id is already here.
        """
        held = [*self._waiting, *self._in_flight()]
        if any(plan.job.job_id == job.job_id for plan in held):
            raise ValueError(f"job {job.job_id!r} was added already")
        plan = plan_job(job, self.registry)
        self._waiting.append(plan)
        return plan

    def cancel(self, job_id: str) -> bool:
        """Drops a job and its lanes; no event follows. False when there is no such job."""
        known = any(plan.job.job_id == job_id for plan in (*self._waiting, *self._in_flight()))
        self._waiting = deque(plan for plan in self._waiting if plan.job.job_id != job_id)
        self._active.pop(job_id, None)
        self._lanes.remove_job(job_id)
        if self._pipelines.plan is not None and self._pipelines.plan.job.job_id == job_id:
            self._pipelines.cancel()
        return known

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
        if self.busy:
            raise RuntimeError("generate() needs an idle engine; use add() and step()")
        self.add(job)
        images: list[GeneratedImage] = []
        failures: list[EngineError] = []
        while self.busy:
            for event in self.step():
                if on_event is not None:
                    on_event(event)
                if isinstance(event, ImageDone):
                    images.append(event.image)
                elif isinstance(event, ImageFailed):
                    failures.append(event.error)
        if failures:
            raise failures[0]
        return sorted(images, key=lambda image: image.image_index)

    def step(self) -> list[Event]:
        """Admits one waiting job, runs one UNet forward and finishes what it completed.

        A job on a pipeline of diffusers goes on by one of its steps beside that.
        While nothing but the loading of a checkpoint goes on, it returns after `LOADING_WAIT_S`.
        """
        with stepping():
            events, is_idle = self._step()
        if is_idle and self._waiting:
            self._models.wait(LOADING_WAIT_S)
        return events

    def _step(self) -> tuple[list[Event], bool]:
        """Events, and whether there was nothing to do."""
        events: list[Event] = []
        self._memory_is_full = self._memory_is_full and bool(self._in_flight())
        if self._waiting and not self._memory_is_full:
            events += self._admit_next()
        group = self._lanes.next_group()
        if group:
            events += self._forward(group)
        if self._pipelines.plan is not None:
            return events + self._step_pipeline(), False
        return events, not group and not events

    # --- admit ---

    def _admit_next(self) -> list[Event]:
        """Admits the first waiting job whose checkpoint is loaded.

        The first job that lacks its checkpoint has it loaded. Meanwhile others may overtake it, but
        not while it waits for room: those who overtake might keep the room taken for ever.
        """
        someone_waits = False
        for index, plan in enumerate(self._waiting):
            if isinstance(plan.info, PipelineInfo) and self._pipelines.plan is not None:
                continue  # they run one after the other
            checkpoint = None
            if plan.passes and someone_waits:
                checkpoint = self._models.loaded(plan.model)
            elif plan.passes:
                try:
                    checkpoint = self._models.request(plan.model, self._in_use())
                except EngineError as exc:
                    if isinstance(exc, GpuOutOfMemory) and self._in_flight():
                        self._memory_is_full = True
                        return []
                    del self._waiting[index]
                    return all_failed(plan.job, exc)
            if checkpoint is not None or not plan.passes:
                del self._waiting[index]
                return self._admit(plan, checkpoint)
            if not someone_waits and not self._models.is_loading(plan.model):
                break
            someone_waits = True
        return []

    def _in_flight(self) -> list[GenerationPlan]:
        """Plans of the jobs that are under way."""
        plans = [active.plan for active in self._active.values()]
        return plans if self._pipelines.plan is None else [*plans, self._pipelines.plan]

    def _in_use(self) -> set[str]:
        """Names of the checkpoints that images are in flight on."""
        return {plan.model.name for plan in self._in_flight()}

    def _admit(self, plan: GenerationPlan, checkpoint: LoadedModel | None) -> list[Event]:
        """Prepares a job and opens a lane for each of its images."""
        try:
            canvas = prepare_canvas(plan)
            if checkpoint is None:
                assert canvas.reference is not None, "strength 0 has a reference"
                return self._without_denoising(plan, canvas, canvas.reference)
            if isinstance(checkpoint, InpaintPipeline):
                self._pipelines.start(plan, canvas, checkpoint)
                return []
            active = self._activate(plan, canvas, checkpoint)
            lanes = [self._first_lane(active, index) for index in sorted(active.open_images)]
        except torch.OutOfMemoryError as exc:
            if self._models.release({*self._in_use(), plan.model.name}):
                self._waiting.appendleft(plan)
                return []
            if self._in_flight():  # they fill the memory: wait until they are done
                self._memory_is_full = True
                self._waiting.appendleft(plan)
                return []
            return all_failed(plan.job, _as_engine_error(exc))
        except EngineError as exc:
            return all_failed(plan.job, exc)
        self._active[plan.job.job_id] = active
        for lane in lanes:
            self._lanes.add(lane)
        return []

    def _activate(self, plan: GenerationPlan, canvas: Canvas, checkpoint: Checkpoint) -> ActiveJob:
        adapters = prepare_adapters(plan, checkpoint)
        return ActiveJob(
            plan=plan,
            canvas=canvas,
            checkpoint=checkpoint,
            vae=checkpoint.own_vae if plan.job.use_checkpoint_vae else checkpoint.vae,
            adapters=adapters,
            prompt_embeds=prepare_prompts(plan, checkpoint, adapters.weighted),
            open_images=set(range(plan.job.num_images)),
        )

    def _first_lane(self, active: ActiveJob, image_index: int) -> Lane:
        generator = torch.Generator("cpu").manual_seed(active.plan.seeds[image_index])
        return self._open_lane(active, image_index, 0, generator, None)

    def _open_lane(
        self,
        active: ActiveJob,
        image_index: int,
        pass_index: int,
        generator: torch.Generator,
        start_latents: torch.Tensor | None,
    ) -> Lane:
        plan = active.plan
        assert isinstance(plan.info, CheckpointInfo), "pipelines have no lanes"
        return open_lane(
            job_id=plan.job.job_id,
            image_index=image_index,
            pass_index=pass_index,
            pass_plan=plan.passes[pass_index],
            sampler=plan.sampler,
            noise_schedule=plan.info.noise_schedule,
            checkpoint=active.checkpoint,
            conditioning=active.conditioning(pass_index),
            generator=generator,
            start_latents=start_latents,
        )

    def _without_denoising(
        self, plan: GenerationPlan, canvas: Canvas, background: Image.Image
    ) -> list[Event]:
        job_id = plan.job.job_id
        events: list[Event] = [
            ImageDone(job_id, finish_image(background, canvas, plan, index))
            for index in range(plan.job.num_images)
        ]
        return [*events, JobDone(job_id)]

    # --- pipelines ---

    def _step_pipeline(self) -> list[Event]:
        """Goes on with the pipeline's job, but where it lacks memory only once there is more."""
        if self._pipelines.wants_memory:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if not self._models.release(self._in_use()) and self._active:
                self._memory_is_full = True  # admits no one until the lanes are done
                return []
        return self._pipelines.step()

    # --- forward and advance ---

    def _forward(self, lanes: list[Lane]) -> list[Event]:
        min_rows = 0
        if self._batch_invariant:
            min_rows = 2 * self._lanes.lanes_per_forward(lanes[0])
        try:
            outputs = predict(lanes, min_rows=min_rows)
        except torch.OutOfMemoryError as exc:
            return self._after_out_of_memory(lanes, exc)
        events: list[Event] = []
        for lane, output in zip(lanes, outputs, strict=True):
            advance(lane, output)
            events.append(self._step_done(lane))
            if lane.is_finished:
                events += self._pass_done(lane)
        return events

    def _after_out_of_memory(self, lanes: list[Lane], exc: torch.OutOfMemoryError) -> list[Event]:
        """Idle checkpoints out, then a smaller group; an image that does not fit alone fails.

        With `batch_invariant` a smaller group is padded to the same rows and would not fit either.
        """
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self._models.release(self._in_use()):
            return []
        if len(lanes) > 1 and not self._batch_invariant:
            self._lanes.halve(lanes)
            return []
        return self._close(lanes[0], ImageFailed(*_id(lanes[0]), _as_engine_error(exc)))

    def _step_done(self, lane: Lane) -> StepDone:
        plan = self._active[lane.job_id].plan
        before = sum(each.num_forwards for each in plan.passes[: lane.pass_index])
        return StepDone(*_id(lane), before + lane.step_index, plan.total_steps)

    def _pass_done(self, lane: Lane) -> list[Event]:
        """Sends the lane's image into its next pass, or out."""
        active = self._active[lane.job_id]
        try:
            if lane.pass_index + 1 < len(active.plan.passes):
                self._lanes.replace(lane, self._next_lane(active, lane))
                return []
            background = decode_background(lane.latents, active.vae, active.plan)
            notes = active.adapters.notes
            image = finish_image(background, active.canvas, active.plan, lane.image_index, notes)
        except (EngineError, torch.OutOfMemoryError) as exc:
            return self._close(lane, ImageFailed(*_id(lane), _as_engine_error(exc)))
        return self._close(lane, ImageDone(lane.job_id, image))

    def _next_lane(self, active: ActiveJob, lane: Lane) -> Lane:
        next_index = lane.pass_index + 1
        height, width = active.conditioning(next_index).repaint_mask.shape[-2:]
        start_latents = upscale_latents(lane.latents, height, width)
        return self._open_lane(active, lane.image_index, next_index, lane.generator, start_latents)

    def _close(self, lane: Lane, last: ImageDone | ImageFailed) -> list[Event]:
        """Takes the lane out, and its job with the last lane."""
        self._lanes.remove(lane)
        active = self._active[lane.job_id]
        active.open_images.discard(lane.image_index)
        if active.open_images:
            return [last]
        del self._active[lane.job_id]
        return [last, JobDone(lane.job_id)]


def _id(lane: Lane) -> tuple[str, int]:
    return lane.job_id, lane.image_index


def _as_engine_error(exc: EngineError | torch.OutOfMemoryError) -> EngineError:
    if isinstance(exc, EngineError):
        return exc
    return GpuOutOfMemory("the device ran out of memory")
