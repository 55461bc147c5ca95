"""A job -> everything about it that needs no device: sizes, steps, seeds, schedules.

Imports no torch: the API plans every request before it accepts it (law 5).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TypeVar

from engine.checkpoint_info import CheckpointInfo, read_checkpoint_info
from engine.errors import BadImage, ParameterOutOfRange, UnknownLora
from engine.job import SEED_MODULUS, GenerationJob, Sampler
from engine.registry import MainModel, Registry
from engine.schedule import StepSchedule, partial_schedule

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
        width_px: multiple of the VAE factor.
        height_px: likewise.
        num_steps: UNet steps of this pass.
        schedule: explicit steps; None runs the sampler's own schedule from pure noise.
    """

    width_px: int
    height_px: int
    num_steps: int
    schedule: StepSchedule | None


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """A job with nothing left open.

    Attributes:
        job: what was asked.
        model: its main model.
        info: shape facts of the model's checkpoint.
        width_px: exact width of the result.
        height_px: exact height of the result.
        num_inference_steps: as asked or the model's default.
        sampler: likewise.
        guidance_scale: likewise.
        seeds: one an image.
        use_reference: whether the reference reaches the result at all.
        passes: none when the result is the reference itself (strength 0), else one or two.
    """

    job: GenerationJob
    model: MainModel
    info: CheckpointInfo
    width_px: int
    height_px: int
    num_inference_steps: int
    sampler: Sampler
    guidance_scale: float
    seeds: tuple[int, ...]
    use_reference: bool
    passes: tuple[PassPlan, ...]

    @property
    def total_steps(self) -> int:
        """UNet steps of one image over all passes."""
        return sum(each.num_steps for each in self.passes)

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
        WeightsUnavailable: the model's own files are broken.
    """
    model = registry.main_model(job.model_name)
    info = read_checkpoint_info(model.path)
    _check(job, info)
    width_px, height_px = _canvas(job)
    steps = _default(job.num_inference_steps, model.num_inference_steps)
    _in_range("num_inference_steps", steps, 6, 100)
    guidance_scale = _default(job.guidance_scale, model.guidance_scale)
    _in_range("guidance_scale", guidance_scale, 1, 30)
    return GenerationPlan(
        job=job,
        model=model,
        info=info,
        width_px=width_px,
        height_px=height_px,
        num_inference_steps=steps,
        sampler=_default(job.sampler, model.sampler),
        guidance_scale=guidance_scale,
        seeds=tuple((job.seed + index) % SEED_MODULUS for index in range(job.num_images)),
        use_reference=job.reference is not None and job.strength < 1.0,
        passes=_passes(job.strength, steps, width_px, height_px, model, info),
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


def _check(job: GenerationJob, info: CheckpointInfo) -> None:
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
    _in_range("clip_skip", job.clip_skip, 1, info.text_layers)
    for adapter in job.adapters:
        raise UnknownLora(f"no sub-model is named {adapter.adapter_name!r}", field="adapters")


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
    width_px: int,
    height_px: int,
    model: MainModel,
    info: CheckpointInfo,
) -> tuple[PassPlan, ...]:
    if strength == 0.0:
        return ()
    factor = info.vae_scale_factor
    full = (_round_up(width_px, factor), _round_up(height_px, factor))
    schedule = (
        None if strength == 1.0 else partial_schedule(info.noise_schedule, strength, num_steps)
    )
    native_area = model.native_size_px**2
    # A pass at or below the refining strength keeps the reference's composition anyway.
    if full[0] * full[1] <= TWO_PASS_AREA_RATIO * native_area or strength <= model.refine_strength:
        return (PassPlan(*full, num_steps, schedule),)
    shrink = math.sqrt(native_area / (full[0] * full[1]))
    native = [max(factor, round(side * shrink / factor) * factor) for side in full]
    refine_steps = max(2, round(num_steps * model.refine_strength))
    refine = partial_schedule(info.noise_schedule, model.refine_strength, refine_steps)
    return (
        PassPlan(native[0], native[1], num_steps, schedule),
        PassPlan(*full, refine_steps, refine),
    )


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _default(asked: T | None, default: T) -> T:
    return default if asked is None else asked


def _in_range(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ParameterOutOfRange(f"{field} is {value}, not {low}..{high}", field=field)
