"""Denoised latents -> the image that is handed out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from engine.color import srgb_to_profile
from engine.compose import compose
from engine.errors import NonFiniteResult
from engine.job import GeneratedImage
from engine.plan import GenerationPlan
from engine.prepare import Canvas
from engine.vae import LatentCodec


def upscale_latents(latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """float32 (1, C, h, w) -> (1, C, height, width), bicubic: the start of a refining pass.

    The outermost cells stay one cell wide: a VAE with zero padding codes the border of a picture
    in a way of its own (up to -5 against 0.4 in one channel of the embedded model), and stretched
    over two cells that code decodes to a bright line along the edge.

    Raises:
        NonFiniteResult: the latents are not finite.
    """
    _require_finite(latents, "latents")
    return _upscale_axis(_upscale_axis(latents, -2, height), -1, width)


def _upscale_axis(latents: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    """One axis of `upscale_latents` (bicubic interpolation is separable).

    The two border cells give way to their neighbours before the interpolation, so that what lies
    inside keeps its place, and are put back after it.
    """
    last = latents.shape[dim] - 1
    inner = torch.arange(last + 1, device=latents.device).clamp(min(1, last), max(0, last - 1))
    shape = list(latents.shape[-2:])
    shape[dim] = size
    upscaled = torch.nn.functional.interpolate(
        latents.index_select(dim, inner), size=shape, mode="bicubic"
    )
    upscaled.select(dim, 0).copy_(latents.select(dim, 0))
    upscaled.select(dim, size - 1).copy_(latents.select(dim, last))
    return upscaled


def decode_background(latents: torch.Tensor, vae: LatentCodec, plan: GenerationPlan) -> Image.Image:
    """Latents of the padded canvas -> RGB in sRGB, cropped to the exact canvas.

    Raises:
        NonFiniteResult: latents or pixels are not finite; never a black picture instead.
    """
    _require_finite(latents, "latents")
    decoded = vae.decode(latents)
    _require_finite(decoded, "decoded image")
    cropped = decoded[0, :, : plan.height_px, : plan.width_px]
    pixels = ((cropped + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy()))


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
        "seed": seed,
        "width_px": plan.width_px,
        "height_px": plan.height_px,
        "model_name": plan.model.name,
        "strength": job.strength,
        "clip_skip": job.clip_skip,
        "adapters": [[each.sub_model.name, each.weight] for each in plan.loras],
        "embeddings": [each.name for each in plan.embeddings],
    }


def _require_finite(tensor: torch.Tensor, what: str) -> None:
    if not bool(torch.isfinite(tensor).all()):
        raise NonFiniteResult(f"the {what} came out as NaN or infinity")
