"""A plan -> the images and tensors its lanes start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from engine.adapters.rows import AdapterSet
from engine.checkpoint import Checkpoint
from engine.checkpoint_copy import float32_copy
from engine.checkpoint_info import CheckpointInfo
from engine.color import foreground_to_srgb
from engine.compose import bleed, compose, masked_image
from engine.conditioning import Conditioning
from engine.embeddings import Embedding, load_embedding
from engine.encoding_cache import EncodingCache, image_digest
from engine.mask import repaint_mask
from engine.plan import GenerationPlan, PassPlan
from engine.prompt import PromptEmbeds, encode_prompts
from engine.resize import pad_to_multiple, resize_foreground, resize_reference
from engine.sampler_steps import SamplerSteps, sampler_steps
from engine.vae import LatentCodec
from engine.vae_tiles import encode_canvas


@dataclass(frozen=True, slots=True)
class Canvas:
    """The job's images at the exact size of the result.

    Attributes:
        foreground: RGBA, in the foreground's own colour space: the bytes law 1 protects.
        reference: RGB, sRGB; None where it does not reach the result.
    """

    foreground: Image.Image
    reference: Image.Image | None


def prepare_canvas(plan: GenerationPlan) -> Canvas:
    """Brings foreground and reference to the canvas by their resize modes."""
    job, size = plan.job, (plan.width_px, plan.height_px)
    foreground = resize_foreground(job.foreground, *size, job.foreground_resize_mode)
    if not plan.use_reference or job.reference is None:
        return Canvas(foreground, None)
    return Canvas(foreground, resize_reference(job.reference, *size, job.reference_resize_mode))


@dataclass(frozen=True, slots=True, eq=False)
class PreparedJob:
    """A job that waits for nothing but its turns on the device.

    Attributes:
        plan: of the job.
        canvas: its images.
        checkpoint: what denoises it.
        vae: of the checkpoint, or its own one.
        conditionings: one a pass.
        steps: likewise, what its sampler does.
        notes: a sentence for each LoRA that fits the model only in part.
    """

    plan: GenerationPlan
    canvas: Canvas
    checkpoint: Checkpoint
    vae: LatentCodec
    conditionings: tuple[Conditioning, ...]
    steps: tuple[SamplerSteps, ...]
    notes: tuple[str, ...]


def prepare_job(
    plan: GenerationPlan, checkpoint: Checkpoint, cache: EncodingCache | None = None
) -> PreparedJob:
    """Everything before the first step: resizes and encodes the images, encodes the prompts.

    Args:
        plan: of a job on a checkpoint, with at least one pass.
        checkpoint: the plan's, loaded.
        cache: of encodings; None encodes everything anew.

    Raises:
        WeightsUnavailable: a file of a sub-model is damaged.
        IncompatibleAdapter: a sub-model does not fit the checkpoint.
        torch.OutOfMemoryError: the device cannot hold what is encoded.
    """
    if cache is None:
        cache = EncodingCache(max_bytes=0)
    canvas = prepare_canvas(plan)
    adapters = prepare_adapters(plan, checkpoint)
    prompt_embeds = prepare_prompts(plan, checkpoint, adapters.weighted, cache)
    vae = checkpoint.own_vae if plan.job.use_checkpoint_vae else checkpoint.vae
    conditionings = tuple(
        prepare_conditioning(
            plan, each, canvas, prompt_embeds, checkpoint, vae, adapters.weighted, cache
        )
        for each in plan.passes
    )
    steps = tuple(prepare_steps(plan, each) for each in plan.passes)
    return PreparedJob(plan, canvas, checkpoint, vae, conditionings, steps, adapters.notes)


def prepare_steps(plan: GenerationPlan, pass_plan: PassPlan) -> SamplerSteps:
    """What the sampler does in one pass: a new schedule takes some milliseconds to be read."""
    assert isinstance(plan.info, CheckpointInfo), "pipelines take their own steps"
    return sampler_steps(
        plan.sampler, plan.info.noise_schedule, pass_plan.num_steps, pass_plan.schedule
    )


@dataclass(frozen=True, slots=True)
class JobAdapters:
    """The job's LoRAs on the device.

    Attributes:
        weighted: those that act, with their weights, in the order of the job.
        notes: a sentence for each that fits the model only in part.
    """

    weighted: AdapterSet
    notes: tuple[str, ...]


def prepare_adapters(plan: GenerationPlan, checkpoint: Checkpoint) -> JobAdapters:
    """Loads the job's LoRAs beside the checkpoint; one of weight 0 is not even loaded.

    Raises:
        WeightsUnavailable: a file is damaged.
        IncompatibleAdapter: one does not fit the checkpoint at all.
        torch.OutOfMemoryError: the device cannot hold one.
    """
    acting = [each for each in plan.loras if each.weight != 0]
    loras = [checkpoint.adapters.lora(each.sub_model.path) for each in acting]
    notes = tuple(
        f"{each.sub_model.name}: {len(lora.unmatched)} of its parts have no place in"
        f" {plan.model.name} (first: {lora.unmatched[0]}), {lora.num_matched} modules act"
        for each, lora in zip(acting, loras, strict=True)
        if lora.unmatched
    )
    weights = [each.weight for each in acting]
    return JobAdapters(tuple(zip(loras, weights, strict=True)), notes)


def prepare_in_float32(plan: GenerationPlan, checkpoint: Checkpoint) -> PreparedJob:
    """The same on a copy of the checkpoint in float32, for what overflowed in a narrower type.

    Raises:
        GpuOutOfMemory: the device cannot hold the copy.
        EngineError, torch.OutOfMemoryError: as `prepare_job`.
    """
    return prepare_job(plan, float32_copy(checkpoint))


def prepare_prompts(
    plan: GenerationPlan,
    checkpoint: Checkpoint,
    adapters: AdapterSet,
    cache: EncodingCache,
) -> PromptEmbeds:
    """The job's prompts through the checkpoint's text encoders, with `adapters` beside them.

    Raises:
        WeightsUnavailable: an embedding's file is damaged.
        IncompatibleAdapter: an embedding is made for other text encoders.
    """
    job = plan.job
    embeddings = _embeddings(plan)

    def encode() -> PromptEmbeds:
        with checkpoint.adapters.text_encoding(adapters):
            return encode_prompts(
                job.prompt,
                job.negative_prompt,
                checkpoint=checkpoint,
                clip_skip=job.clip_skip,
                embeddings=embeddings,
            )

    if embeddings:  # their files may change
        return encode()
    texts = (job.prompt, job.negative_prompt, job.clip_skip)
    loras = tuple((lora.serial, weight) for lora, weight in adapters)
    key = ("prompts", checkpoint.serial, *texts, loras)
    return cache.get(key, encode, kind="prompts")


def prepare_conditioning(
    plan: GenerationPlan,
    pass_plan: PassPlan,
    canvas: Canvas,
    prompt_embeds: PromptEmbeds,
    checkpoint: Checkpoint,
    vae: LatentCodec,
    adapters: AdapterSet,
    cache: EncodingCache,
) -> Conditioning:
    """Everything the job's images share in one pass, encoded at the size of the pass.

    The init image is the foreground over the reference, also under its soft edges; without a
    reference (4 channels only) over the foreground's own colours bled outward.
    """
    foreground, reference = at_pass_size(plan, pass_plan, canvas)
    mask = repaint_mask(np.asarray(foreground)[..., 3], plan.info.mask_cell_px)
    masked_image_latents = None
    image_latents = None
    content = image_digest(foreground)
    if checkpoint.needs_masked_image:
        masked_image_latents = cache.get(
            ("masked image", vae.serial, content),
            lambda: encode_canvas(vae, _as_batch(masked_image(foreground))),
        )
    if reference is not None or not checkpoint.needs_masked_image:
        under = None if reference is None else image_digest(reference)
        image_latents = cache.get(
            ("init image", vae.serial, content, under),
            lambda: encode_canvas(vae, _init_image(foreground, reference)),
        )
    reference_latents = None
    blank_latents = None
    if plan.use_deep_fusion:
        assert reference is not None, "DeepFusion reads a reference"
        reference_latents = cache.get(
            ("reference", vae.serial, image_digest(reference)),
            lambda: encode_canvas(vae, _pixels(reference)),
        )
        if checkpoint.needs_masked_image:
            blank_latents = cache.get(
                ("blank", vae.serial, reference.size),
                lambda: encode_canvas(vae, torch.zeros_like(_pixels(reference))),
            )
    return Conditioning(
        prompt_embeds=prompt_embeds.prompt_embeds,
        negative_prompt_embeds=prompt_embeds.negative_prompt_embeds,
        pooled_prompt_embeds=prompt_embeds.pooled_prompt_embeds,
        negative_pooled_prompt_embeds=prompt_embeds.negative_pooled_prompt_embeds,
        time_ids=_time_ids(pass_plan, checkpoint),
        adapters=adapters,
        repaint_mask=torch.from_numpy(mask)[None, None].to(checkpoint.device, torch.float32),
        masked_image_latents=masked_image_latents,
        image_latents=image_latents,
        reference_latents=reference_latents,
        blank_latents=blank_latents,
    )


def _init_image(foreground: Image.Image, reference: Image.Image | None) -> torch.Tensor:
    background = bleed(foreground) if reference is None else reference
    return _pixels(compose(foreground, background))


def _pixels(image: Image.Image) -> torch.Tensor:
    """RGB -> (1, 3, H, W) in [-1, 1]."""
    return _as_batch(np.asarray(image, dtype=np.float32) / 127.5 - 1)


def _embeddings(plan: GenerationPlan) -> dict[str, Embedding]:
    """The job's embeddings by the words that stand for them; files of some kilobytes."""
    words: dict[str, Embedding] = {}
    for sub_model in plan.embeddings:
        embedding = load_embedding(sub_model.path, allow_pickle=sub_model.allow_pickle)
        words |= dict.fromkeys(sub_model.prompt_words, embedding)
    return words


def _time_ids(pass_plan: PassPlan, checkpoint: Checkpoint) -> torch.Tensor | None:
    """An uncropped image of the pass's own size, as SDXL is told of it (arXiv 2307.01952)."""
    if checkpoint.family != "sdxl":
        return None
    size = (pass_plan.height_px, pass_plan.width_px)
    top_left = (0, 0)
    return torch.tensor([[*size, *top_left, *size]], dtype=torch.float32, device=checkpoint.device)


def at_pass_size(
    plan: GenerationPlan, pass_plan: PassPlan, canvas: Canvas
) -> tuple[Image.Image, Image.Image | None]:
    """Images in sRGB, padded to the VAE factor, then brought to the size of the pass.

    Padding first keeps the passes aligned: both cover the same padded canvas, whatever remainder
    the exact canvas leaves.
    """
    foreground = _fit(foreground_to_srgb(canvas.foreground, plan.job.icc_profile), plan, pass_plan)
    if canvas.reference is None:
        return foreground, None
    return foreground, _fit(canvas.reference, plan, pass_plan)


def padded_size(plan: GenerationPlan) -> tuple[int, int]:
    """Width and height of the canvas when its sides are padded to what the model can paint."""
    multiple = plan.info.size_multiple_px
    width, height = (-(-side // multiple) * multiple for side in (plan.width_px, plan.height_px))
    return width, height


def _fit(image: Image.Image, plan: GenerationPlan, pass_plan: PassPlan) -> Image.Image:
    padded = pad_to_multiple(image, plan.info.size_multiple_px)
    size = (pass_plan.width_px, pass_plan.height_px)
    return padded if padded.size == size else padded.resize(size, Image.Resampling.BICUBIC)


def _as_batch(image: npt.NDArray[np.float32]) -> torch.Tensor:
    """(H, W, 3) in [-1, 1] -> (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
