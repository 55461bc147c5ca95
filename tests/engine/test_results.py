"""What the finished image is made of: the untouched product, the reference, the colour space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from engine.checkpoint import load_checkpoint
from engine.engine import Engine
from engine.job import GenerationJob, ResizeMode
from engine.plan import plan_job
from engine.prepare import prepare_job
from engine.registry import Registry
from tests.engine.runs import embedded
from tests.icc_profiles import BLUE, GREEN, RED, rgb_profile

SWAPPED = rgb_profile(gamma=2.2, primaries=(GREEN, RED, BLUE))


@pytest.mark.parametrize(
    ("size", "mode"),
    [
        ((64, 64), ResizeMode.RESIZE_AND_FILL),
        ((65, 127), ResizeMode.CROP_AND_RESIZE),
        ((200, 96), ResizeMode.JUST_RESIZE),
        ((128, 128), ResizeMode.CROP_AND_RESIZE),
        ((333, 77), ResizeMode.RESIZE_AND_FILL),
        ((384, 250), ResizeMode.CROP_AND_RESIZE),
        ((513, 321), ResizeMode.JUST_RESIZE),
        ((640, 640), ResizeMode.RESIZE_AND_FILL),
    ],
)
def test_opaque_pixels_of_the_product_are_untouched(
    embedded_engine: Engine, product: Image.Image, size: tuple[int, int], mode: ResizeMode
) -> None:
    job = embedded(product, width_px=size[0], height_px=size[1], foreground_resize_mode=mode)
    (image,) = embedded_engine.generate(job)
    assert image.image.size == size
    foreground = np.asarray(_placed(product, size, mode))
    opaque = foreground[..., 3] == 255
    assert opaque.any()
    assert np.array_equal(np.asarray(image.image)[opaque], foreground[..., :3][opaque])
    assert np.asarray(image.image)[foreground[..., 3] == 0].std() > 0.5, "nothing was painted"


def _placed(product: Image.Image, size: tuple[int, int], mode: ResizeMode) -> Image.Image:
    """The product on the canvas by the protocol's words alone (section 10, ResizeMode)."""
    ratios = [new / old for new, old in zip(size, product.size, strict=True)]
    if mode is ResizeMode.JUST_RESIZE:
        return product.resize(size, Image.Resampling.BICUBIC)
    scale = max(ratios) if mode is ResizeMode.CROP_AND_RESIZE else min(ratios)
    content = product.resize(
        tuple(max(1, round(side * scale)) for side in product.size), Image.Resampling.BICUBIC
    )
    canvas = Image.new("RGBA", size)
    corner = tuple((new - side) // 2 for new, side in zip(size, content.size, strict=True))
    canvas.paste(content, corner)
    return canvas


def test_the_foregrounds_profile_rules_the_result(tiny_engine: Engine, job: GenerationJob) -> None:
    """Red and green swapped in the profile: the reference is converted, the product kept as is."""
    reference = Image.new("RGB", (32, 32), (200, 60, 90))
    job = replace(job, icc_profile=SWAPPED, reference=reference, strength=0.0)
    (image,) = tiny_engine.generate(job)
    pixels, foreground = np.asarray(image.image).astype(int), np.asarray(job.foreground)
    assert image.icc_profile == SWAPPED
    opaque, clear = foreground[..., 3] == 255, foreground[..., 3] == 0
    assert np.array_equal(pixels[opaque], foreground[..., :3][opaque])
    assert np.abs(pixels[clear] - [60, 200, 90]).max() <= 3


def test_the_model_sees_the_product_in_srgb(tiny_registry: Registry, job: GenerationJob) -> None:
    """A product stored in another colour space is the same product to the model."""
    swapped = np.asarray(job.foreground)[..., [1, 0, 2, 3]]
    stored = replace(job, foreground=Image.fromarray(swapped), icc_profile=SWAPPED)
    plain, profiled, unprofiled = (
        _masked_image_latents(each, tiny_registry)
        for each in (job, stored, replace(stored, icc_profile=None))
    )
    assert (plain - profiled).abs().mean() < 0.1 * (plain - unprofiled).abs().mean()


def _masked_image_latents(job: GenerationJob, registry: Registry) -> torch.Tensor:
    plan = plan_job(job, registry)
    checkpoint = load_checkpoint(plan.model, device=torch.device("cpu"), dtype=torch.float32)
    (conditioning,) = prepare_job(plan, checkpoint).conditionings
    assert conditioning.masked_image_latents is not None
    return conditioning.masked_image_latents


def test_strength_zero_returns_the_reference_under_the_product(
    tiny_engine: Engine, job: GenerationJob
) -> None:
    reference = Image.effect_mandelbrot((128, 128), (-2, -1.5, 1, 1.5), 20).convert("RGB")
    (image,) = tiny_engine.generate(replace(job, reference=reference, strength=0.0))
    clear = np.asarray(job.foreground)[..., 3] == 0
    assert np.array_equal(np.asarray(image.image)[clear], np.asarray(reference)[clear])


@pytest.mark.parametrize("model_name", ["nine", "four"])
def test_strength_one_is_the_image_without_reference(
    tiny_engine: Engine, job: GenerationJob, model_name: str
) -> None:
    job = replace(job, model_name=model_name)
    reference = Image.new("RGB", (50, 50), "orange")
    (without,) = tiny_engine.generate(job)
    (ignored,) = tiny_engine.generate(replace(job, reference=reference, strength=1.0))
    assert without.image.tobytes() == ignored.image.tobytes()
