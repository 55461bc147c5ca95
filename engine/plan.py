"""A job -> everything about it that needs no device: sizes, steps, seeds, schedules.

Imports no torch: the API plans every request before it accepts it (law 5).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TypeVar

from engine.checkpoint_info import CheckpointInfo
from engine.errors import BadImage, ParameterOutOfRange
from engine.job import SEED_MODULUS, GenerationJob, Sampler
from engine.pipeline_info import PipelineInfo
from engine.pipeline_plan import check_pipeline_job, pipeline_notes
from engine.prompt_syntax import parse_prompt
from engine.registry import MainModel, Registry
from engine.schedule import StepSchedule, num_forwards, partial_schedule
from engine.sub_models import SubModel, WeightedLora, choose_sub_models

T = TypeVar("T")

MIN_SIDE_PX, MAX_SIDE_PX = 64, 2560
MAX_IMAGES = 16
# A canvas above this multiple of the native area is composed at native area first: a UNet asked
# for much more than it was trained on repeats its subject over the canvas.
TWO_PASS_AREA_RATIO = 2.0


@dataclass(frozen=True, slots=True)
class PassPlan:
    """One denoising pass over a whole canvas.

    Attributes:
        width_px: multiple of the VAE factor, or of what a pipeline can paint.
        height_px: likewise.
        strength: 0..1, noise strength over what the pass starts from.
        num_steps: sampler steps of this pass.
        num_forwards: UNet forwards they take; of a pipeline its steps.
        schedule: explicit steps; None runs the sampler's own schedule from pure noise, and a
            pipeline's at any strength.
    """

    width_px: int
    height_px: int
    strength: float
    num_steps: int
    num_forwards: int
    schedule: StepSchedule | None


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """A job with nothing left open.

    Attributes:
        job: what was asked.
        model: its main model.
        info: shape facts of the model's checkpoint, or of its pipeline.
        loras: its LoRAs with their weights, in the order of the job.
        embeddings: the embeddings its prompts may use, likewise.
        width_px: exact width of the result.
        height_px: exact height of the result.
        num_inference_steps: as asked or the model's default.
        sampler: likewise.
        guidance_scale: likewise.
        seeds: one an image.
        use_reference: whether the reference reaches the result at all.
        passes: none when the result is the reference itself (strength 0), else one or two.
        notes: what the job asks for and the model ignores.
    """

    job: GenerationJob
    model: MainModel
    info: CheckpointInfo | PipelineInfo
    loras: tuple[WeightedLora, ...]
    embeddings: tuple[SubModel, ...]
    width_px: int
    height_px: int
    num_inference_steps: int
    sampler: Sampler
    guidance_scale: float
    seeds: tuple[int, ...]
    use_reference: bool
    passes: tuple[PassPlan, ...]
    notes: tuple[str, ...]

    @property
    def total_steps(self) -> int:
        """UNet forwards, or steps of a pipeline, of one image over all passes."""
        return sum(each.num_forwards for each in self.passes)

    @property
    def model_key(self) -> str:
        """Names the checkpoint: what a device must have loaded."""
        return self.model.name

    @property
    def compat_key(self) -> str:
        """Equal for jobs whose images may share a forward: checkpoint and latent sizes."""
        sizes = "+".join(f"{each.width_px}x{each.height_px}" for each in self.passes)
        return hashlib.sha256(f"{self.model_key}\n{sizes}".encode()).hexdigest()[:16]


def plan_job(job: GenerationJob, registry: Registry) -> GenerationPlan:
    """Resolves and checks every number of `job`.

    Raises:
        JobError: something is asked that cannot be done; its `field` says which.
        WeightsUnavailable: files of the model or a sub-model are broken.
    """
    model = registry.main_model(job.model_name)
    info = model.info
    _check(job, info)
    chosen = choose_sub_models(job.adapters, model, registry)
    width_px, height_px = _canvas(job)
    steps = _default(job.num_inference_steps, model.num_inference_steps)
    _in_range("num_inference_steps", steps, 6, 100)
    sampler = _default(job.sampler, model.sampler)
    guidance_scale = _default(job.guidance_scale, model.guidance_scale)
    _in_range("guidance_scale", guidance_scale, 1, 30)
    return GenerationPlan(
        job=job,
        model=model,
        info=info,
        loras=chosen.loras,
        embeddings=chosen.embeddings,
        width_px=width_px,
        height_px=height_px,
        num_inference_steps=steps,
        sampler=sampler,
        guidance_scale=guidance_scale,
        seeds=tuple((job.seed + index) % SEED_MODULUS for index in range(job.num_images)),
        use_reference=job.reference is not None and job.strength < 1.0,
        passes=_passes(job.strength, steps, sampler, width_px, height_px, model, info),
        notes=pipeline_notes(job, guidance_scale, info) if isinstance(info, PipelineInfo) else (),
    )


def default_canvas(width_px: int, height_px: int) -> tuple[int, int]:
    """The canvas of a foreground when no size is asked (protocol section 10).

    Its own size, scaled with its ratio kept until the longer side is at most 2560 or the shorter
    one at least 64, then each side brought to at least 64 and at most 2560.
    """
    scale = 1.0
    if max(width_px, height_px) > MAX_SIDE_PX:
        scale = MAX_SIDE_PX / max(width_px, height_px)
    elif min(width_px, height_px) < MIN_SIDE_PX:
        scale = min(MIN_SIDE_PX / min(width_px, height_px), MAX_SIDE_PX / max(width_px, height_px))
    width, height = (
        min(MAX_SIDE_PX, max(MIN_SIDE_PX, round(side * scale))) for side in (width_px, height_px)
    )
    return width, height


def _check(job: GenerationJob, info: CheckpointInfo | PipelineInfo) -> None:
    if job.foreground.mode != "RGBA":
        raise BadImage("the foreground must be RGBA", field="foreground")
    if job.reference is not None and job.reference.mode != "RGB":
        raise BadImage("the reference must be RGB", field="reference")
    if not 0.0 <= job.strength <= 1.0:
        raise ParameterOutOfRange(f"strength is {job.strength}, not 0..1", field="strength")
    if job.reference is None and job.strength != 1.0:
        raise ParameterOutOfRange("without a reference strength must be 1", field="strength")
    _in_range("num_images", job.num_images, 1, MAX_IMAGES)
    _in_range("seed", job.seed, 0, SEED_MODULUS - 1)
    if isinstance(info, PipelineInfo):
        check_pipeline_job(job, info)
    else:
        _in_range("clip_skip", job.clip_skip, 1, info.text_layers)
    parse_prompt(job.prompt, field="prompt")
    parse_prompt(job.negative_prompt, field="negative_prompt")


def _canvas(job: GenerationJob) -> tuple[int, int]:
    if job.width_px is None and job.height_px is None:
        return default_canvas(*job.foreground.size)
    if job.width_px is None or job.height_px is None:
        missing = "width_px" if job.width_px is None else "height_px"
        raise ParameterOutOfRange("width and height are given together", field=missing)
    _in_range("width_px", job.width_px, MIN_SIDE_PX, MAX_SIDE_PX)
    _in_range("height_px", job.height_px, MIN_SIDE_PX, MAX_SIDE_PX)
    return job.width_px, job.height_px


def _passes(
    strength: float,
    num_steps: int,
    sampler: Sampler,
    width_px: int,
    height_px: int,
    model: MainModel,
    info: CheckpointInfo | PipelineInfo,
) -> tuple[PassPlan, ...]:
    if strength == 0.0:
        return ()
    factor = info.size_multiple_px
    full = (_round_up(width_px, factor), _round_up(height_px, factor))
    native_area = model.native_size_px**2
    # A pass at or below the refining strength keeps the reference's composition anyway.
    if full[0] * full[1] <= TWO_PASS_AREA_RATIO * native_area or strength <= model.refine_strength:
        return (_pass(full, strength, num_steps, sampler, info),)
    shrink = math.sqrt(native_area / (full[0] * full[1]))
    width, height = (max(factor, round(side * shrink / factor) * factor) for side in full)
    refine_steps = max(2, round(num_steps * model.refine_strength))
    return (
        _pass((width, height), strength, num_steps, sampler, info),
        _pass(full, model.refine_strength, refine_steps, sampler, info),
    )


def _pass(
    size_px: tuple[int, int],
    strength: float,
    num_steps: int,
    sampler: Sampler,
    info: CheckpointInfo | PipelineInfo,
) -> PassPlan:
    if isinstance(info, PipelineInfo):
        return PassPlan(*size_px, strength, num_steps, num_steps, None)
    schedule = None
    if strength < 1.0:
        schedule = partial_schedule(info.noise_schedule, strength, num_steps, sampler)
    return PassPlan(*size_px, strength, num_steps, num_forwards(sampler, num_steps), schedule)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _default(asked: T | None, default: T) -> T:
    return default if asked is None else asked


def _in_range(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ParameterOutOfRange(f"{field} is {value}, not {low}..{high}", field=field)
