"""A job -> everything about it that needs no device: sizes, steps, seeds, schedules.

Imports no torch: the API plans every request before it accepts it (law 5).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from engine.canvas_sizes import PassSize, pass_sizes
from engine.checkpoint_info import CheckpointInfo
from engine.errors import BadImage, ParameterOutOfRange
from engine.job import SEED_MODULUS, AnySampler, GenerationJob, Sampler
from engine.pipeline_info import PipelineInfo
from engine.pipeline_plan import check_pipeline_job, pipeline_notes
from engine.prompt_syntax import parse_prompt
from engine.registry import MainModel, Registry
from engine.sampling import Sampling, choose_sampling
from engine.schedule import StepSchedule, num_forwards
from engine.step_spacing import pass_schedule
from engine.sub_models import SubModel, WeightedLora, choose_sub_models

MIN_SIDE_PX, MAX_SIDE_PX = 64, 2560
MAX_IMAGES = 16


@dataclass(frozen=True, slots=True)
class PassPlan:
    """One denoising pass over a whole canvas.

    Attributes:
        width_px: of what is painted, multiple of the VAE factor or of what a pipeline can paint.
            The last pass is larger than the result where that is far below the native area.
        height_px: likewise.
        strength: 0..1, noise strength over what the pass starts from.
        num_steps: sampler steps of this pass.
        num_forwards: UNet forwards they take, those of all tiles as one; of a pipeline its steps.
        schedule: explicit steps; None runs the sampler's own schedule from pure noise, and a
            pipeline's at any strength.
        tile_px: width and height of the tiles the UNet sees of the canvas, multiples of the VAE
            factor; None: the whole canvas at once.
        guidance_scales: one a forward; 1 runs the conditional row alone. A pipeline takes the
            first for all.
    """

    width_px: int
    height_px: int
    strength: float
    num_steps: int
    num_forwards: int
    schedule: StepSchedule | None
    tile_px: tuple[int, int] | None
    guidance_scales: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """A job with nothing left open.

    Attributes:
        job: what was asked.
        model: its main model.
        info: shape facts of the model's checkpoint, or of its pipeline.
        loras: its LoRAs with their weights, in the order of the job, and those its steps need.
        embeddings: the embeddings its prompts may use, likewise.
        width_px: exact width of the result.
        height_px: exact height of the result.
        num_inference_steps: as asked or the model's default.
        sampler: likewise, or that of the model's few-step settings.
        guidance_scale: likewise.
        sampling: these three, and what else tells how the steps are taken.
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
    sampler: AnySampler
    guidance_scale: float
    sampling: Sampling
    seeds: tuple[int, ...]
    use_reference: bool
    passes: tuple[PassPlan, ...]
    notes: tuple[str, ...]

    @property
    def use_deep_fusion(self) -> bool:
        """Whether the passes read the reference."""
        return self.job.deep_fusion and self.use_reference and bool(self.passes)

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
        """Equal for jobs whose images may share every forward: checkpoint and latent sizes."""
        seen = [each.tile_px or (each.width_px, each.height_px) for each in self.passes]
        sizes = "+".join(f"{width}x{height}" for width, height in seen)
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
    sampling = choose_sampling(job, model)
    _in_range("num_inference_steps", sampling.num_steps, 6, 100)
    _in_range("guidance_scale", sampling.guidance_scale, 1, 30)
    notes: tuple[str, ...] = ()
    if isinstance(info, PipelineInfo):
        notes = pipeline_notes(job, sampling.guidance_scale, info)
    elif job.deep_fusion and job.strength in (0.0, 1.0):
        notes = (f"DeepFusion has no effect at reference strength {1 - job.strength:g}",)
    return GenerationPlan(
        job=job,
        model=model,
        info=info,
        loras=chosen.loras + sampling.loras,
        embeddings=chosen.embeddings,
        width_px=width_px,
        height_px=height_px,
        num_inference_steps=sampling.num_steps,
        sampler=sampling.sampler,
        guidance_scale=sampling.guidance_scale,
        sampling=sampling,
        seeds=tuple((job.seed + index) % SEED_MODULUS for index in range(job.num_images)),
        use_reference=job.reference is not None and job.strength < 1.0,
        passes=_passes(job.strength, sampling, width_px, height_px, model, info),
        notes=notes,
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
    if not isinstance(job.sampler, Sampler | None):
        raise ParameterOutOfRange(
            f"{job.sampler} is for models distilled for it: see few_steps in models.yaml",
            field="sampler",
        )
    if isinstance(info, PipelineInfo):
        check_pipeline_job(job, info)
    else:
        _in_range("clip_skip", job.clip_skip, 1, info.text_layers)
    if job.reference is None and job.deep_fusion:
        raise ParameterOutOfRange("deep fusion needs a reference", field="deep_fusion")
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
    sampling: Sampling,
    width_px: int,
    height_px: int,
    model: MainModel,
    info: CheckpointInfo | PipelineInfo,
) -> tuple[PassPlan, ...]:
    if strength == 0.0:
        return ()
    factor = info.size_multiple_px
    full = (_round_up(width_px, factor), _round_up(height_px, factor))
    sizes = pass_sizes(*full, strength, model, info)
    first = _pass(sizes[0], strength, sampling.num_steps, sampling, info)
    if len(sizes) == 1:
        return (first,)
    refine_steps = max(2, round(sampling.num_steps * model.refine_strength))
    return (first, _pass(sizes[1], model.refine_strength, refine_steps, sampling, info))


def _pass(
    size: PassSize,
    strength: float,
    num_steps: int,
    sampling: Sampling,
    info: CheckpointInfo | PipelineInfo,
) -> PassPlan:
    schedule = None
    if isinstance(info, CheckpointInfo):
        schedule = pass_schedule(
            info.noise_schedule,
            info.family,
            sampling.step_spacing,
            strength=strength,
            num_steps=num_steps,
            sampler=sampling.sampler,
        )
    return PassPlan(
        width_px=size.width_px,
        height_px=size.height_px,
        strength=strength,
        num_steps=num_steps,
        num_forwards=num_forwards(sampling.sampler, num_steps),
        schedule=schedule,
        tile_px=size.tile_px,
        guidance_scales=sampling.guidance_scales(num_steps),
    )


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _in_range(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ParameterOutOfRange(f"{field} is {value}, not {low}..{high}", field=field)
