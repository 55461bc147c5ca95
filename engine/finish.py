"""Denoised latents -> the image that is handed out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from engine.color import srgb_to_profile
from engine.compose import compose
from engine.job import GeneratedImage
from engine.plan import GenerationPlan
from engine.prepare import Canvas, PreparedJob, padded_size
from engine.upscale import require_finite
from engine.vae import LatentCodec
from engine.vae_tiles import decode_canvas


def finish_lane(latents: torch.Tensor, prepared: PreparedJob, image_index: int) -> GeneratedImage:
    """The denoised latents of an image -> the image.

    Args:
        latents: float32 (1, C, h, w) of the last pass.
        prepared: its job.
        image_index: its position there.

    Raises:
        NonFiniteResult: latents or pixels are not finite.
        torch.OutOfMemoryError: the device cannot hold what the VAE needs, not even by tiles.
    """
    background = decode_background(latents, prepared.vae, prepared.plan)
    return finish_image(background, prepared.canvas, prepared.plan, image_index, prepared.notes)


def decode_background(latents: torch.Tensor, vae: LatentCodec, plan: GenerationPlan) -> Image.Image:
    """Latents of the last pass -> RGB in sRGB of the exact canvas.

    Raises:
        NonFiniteResult: latents or pixels are not finite; never a black picture instead.
    """
    require_finite(latents, "latents")
    decoded = decode_canvas(vae, latents)
    require_finite(decoded, "decoded image")
    pixels = (decoded[0] + 1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    painted = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy()))
    return to_canvas(painted, plan)


def to_canvas(painted: Image.Image, plan: GenerationPlan) -> Image.Image:
    """What the last pass painted -> the exact canvas.

    The inverse of `at_pass_size`: a canvas far below the native area was painted larger and is
    reduced, then what was padded is cut off.
    """
    padded = padded_size(plan)
    if painted.size != padded:
        painted = painted.resize(padded, Image.Resampling.BICUBIC)
    return painted.crop((0, 0, plan.width_px, plan.height_px))


def finish_image(
    background: Image.Image,
    canvas: Canvas,
    plan: GenerationPlan,
    image_index: int,
    notes: tuple[str, ...] = (),
) -> GeneratedImage:
    """Puts the untouched foreground over `background` (RGB, sRGB, canvas size).

    `notes` tell what was not done quite as asked, and go into the image's parameters after those
    of the plan.
    """
    job = plan.job
    image = compose(canvas.foreground, srgb_to_profile(background, job.icc_profile))
    seed = plan.seeds[image_index]
    return GeneratedImage(
        job_id=job.job_id,
        image_index=image_index,
        seed=seed,
        image=image,
        icc_profile=job.icc_profile,
        parameters=_parameters(plan, seed) | {"notes": [*plan.notes, *notes]},
    )


def _parameters(plan: GenerationPlan, seed: int) -> dict[str, Any]:
    job = plan.job
    return {
        "prompt": job.prompt,
        "negative_prompt": job.negative_prompt,
        "num_inference_steps": plan.num_inference_steps,
        "sampler": plan.sampler.value,
        "guidance_scale": plan.guidance_scale,
        "guidance_cutoff": plan.sampling.guidance_cutoff,
        "step_spacing": plan.sampling.step_spacing,
        "seed": seed,
        "width_px": plan.width_px,
        "height_px": plan.height_px,
        "model_name": plan.model.name,
        "strength": job.strength,
        "deep_fusion": plan.use_deep_fusion,
        "clip_skip": job.clip_skip,
        "adapters": [[each.sub_model.name, each.weight] for each in plan.loras],
        "embeddings": [each.name for each in plan.embeddings],
    }
