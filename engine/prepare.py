"""A plan -> the images and tensors its lanes start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from engine.checkpoint import Checkpoint
from engine.color import foreground_to_srgb
from engine.compose import bleed, compose, masked_image
from engine.lanes import Conditioning
from engine.mask import repaint_mask
from engine.plan import GenerationPlan, PassPlan
from engine.prompt import encode_prompts
from engine.resize import pad_to_multiple, resize_foreground, resize_reference
from engine.vae import LatentCodec


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


def prepare_prompts(
    plan: GenerationPlan, checkpoint: Checkpoint
) -> tuple[torch.Tensor, torch.Tensor]:
    """prompt_embeds and negative_prompt_embeds of the job, each (1, k * 77, D)."""
    return encode_prompts(
        plan.job.prompt,
        plan.job.negative_prompt,
        tokenizer=checkpoint.tokenizer,
        text_encoder=checkpoint.text_encoder,
        clip_skip=plan.job.clip_skip,
    )


def prepare_conditioning(
    plan: GenerationPlan,
    pass_plan: PassPlan,
    canvas: Canvas,
    prompt_embeds: tuple[torch.Tensor, torch.Tensor],
    checkpoint: Checkpoint,
    vae: LatentCodec,
) -> Conditioning:
    """Everything the job's images share in one pass, encoded at the size of the pass.

    The init image is the foreground over the reference, also under its soft edges; without a
    reference (4 channels only) over the foreground's own colours bled outward.
    """
    foreground, reference = _at_pass_size(plan, pass_plan, canvas)
    mask = repaint_mask(np.asarray(foreground)[..., 3], plan.info.vae_scale_factor)
    masked_image_latents = None
    image_latents = None
    if checkpoint.needs_masked_image:
        masked_image_latents = vae.encode(_as_batch(masked_image(foreground)))
    if reference is not None or not checkpoint.needs_masked_image:
        background = bleed(foreground) if reference is None else reference
        init_image = compose(foreground, background)
        pixels = np.asarray(init_image, dtype=np.float32)
        image_latents = vae.encode(_as_batch(pixels / 127.5 - 1))
    positive, negative = prompt_embeds
    return Conditioning(
        prompt_embeds=positive,
        negative_prompt_embeds=negative,
        guidance_scale=plan.guidance_scale,
        repaint_mask=torch.from_numpy(mask)[None, None].to(checkpoint.device, torch.float32),
        masked_image_latents=masked_image_latents,
        image_latents=image_latents,
    )


def _at_pass_size(
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


def _fit(image: Image.Image, plan: GenerationPlan, pass_plan: PassPlan) -> Image.Image:
    padded = pad_to_multiple(image, plan.info.vae_scale_factor)
    size = (pass_plan.width_px, pass_plan.height_px)
    return padded if padded.size == size else padded.resize(size, Image.Resampling.BICUBIC)


def _as_batch(image: npt.NDArray[np.float32]) -> torch.Tensor:
    """(H, W, 3) in [-1, 1] -> (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
