"""The step loop against diffusers' StableDiffusionXLInpaintPipeline."""

from __future__ import annotations

import pytest

from engine.compose import bleed
from engine.job import Sampler
from engine.registry import Registry
from tests.engine.tiny import EPSILON, V_ZERO_SNR, write_registry, write_tiny_sdxl
from tests.oracle.compare import (
    HEUN_EXPLODES,
    assert_latents_of_diffusers,
    inpainting_job,
    random_foreground,
    random_reference,
)

MODELS = {
    "nine_epsilon": (9, EPSILON),
    "four_epsilon": (4, EPSILON),
    "nine_zero_snr": (9, V_ZERO_SNR),
    "four_zero_snr": (4, V_ZERO_SNR),
}
# Not square: the UNet is told height and width, in this order.
FOREGROUND = random_foreground(96, 64)
REFERENCE = random_reference(96, 64)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root = tmp_path_factory.mktemp("oracle")
    for name, (channels, scheduler) in MODELS.items():
        write_tiny_sdxl(root / name, in_channels=channels, scheduler=scheduler)
    return write_registry(root, **{name: {"family": "sdxl"} for name in MODELS})


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sampler", Sampler)
def test_full_strength_gives_the_latents_of_diffusers(
    name: str, sampler: Sampler, registry: Registry
) -> None:
    if sampler is Sampler.HEUN and "zero_snr" in name:
        pytest.skip(HEUN_EXPLODES)
    job = inpainting_job(name, sampler, FOREGROUND)
    assert_latents_of_diffusers(job, registry, bleed(FOREGROUND))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sampler", Sampler)
def test_reference_strength_gives_the_latents_of_diffusers(
    name: str, sampler: Sampler, registry: Registry
) -> None:
    job = inpainting_job(name, sampler, FOREGROUND, REFERENCE, 0.6)
    assert_latents_of_diffusers(job, registry, REFERENCE)


def test_guidance_of_one_gives_the_latents_of_diffusers(registry: Registry) -> None:
    job = inpainting_job("nine_epsilon", Sampler.EULER, FOREGROUND, guidance_scale=1.0)
    assert_latents_of_diffusers(job, registry, bleed(FOREGROUND))
