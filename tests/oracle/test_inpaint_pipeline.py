"""The step loop against diffusers' StableDiffusionInpaintPipeline: SD 1.x and 2.x."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.compose import bleed
from engine.job import DistilledSampler, Sampler
from engine.registry import Registry
from tests.engine.tiny import (
    EPSILON,
    SAMPLE,
    V_PREDICTION,
    V_ZERO_SNR,
    write_registry,
    write_tiny_model,
)
from tests.oracle.compare import (
    HEUN_EXPLODES,
    assert_latents_of_diffusers,
    inpainting_job,
    random_foreground,
    random_reference,
)

MODELS = {
    "nine_epsilon": ("sd1", 9, EPSILON),
    "four_epsilon": ("sd1", 4, EPSILON),
    "nine_zero_snr": ("sd1", 9, V_ZERO_SNR),
    "four_zero_snr": ("sd1", 4, V_ZERO_SNR),
    "nine_sd2": ("sd2", 9, V_PREDICTION),
    "four_sd2": ("sd2", 4, V_PREDICTION),
    "nine_sample": ("sd1", 9, SAMPLE),
}
# diffusers' Euler a knows no models that predict the clean sample.
CASES = [
    (name, sampler)
    for name in MODELS
    for sampler in Sampler
    if (name, sampler) != ("nine_sample", Sampler.EULER_ANCESTRAL)
]
# A random net's clean sample over a small sigma would magnify the last digit.
WEAK_CASES = [(name, sampler) for name, sampler in CASES if name != "nine_sample"]
DISTILLED_CASES = [
    (name, sampler)
    for name in ("nine_epsilon", "four_epsilon", "nine_sd2", "nine_sample")
    for sampler in DistilledSampler
]
FOREGROUND = random_foreground(64, 64)
REFERENCE = random_reference(64, 64)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root = tmp_path_factory.mktemp("oracle")
    for name, (family, channels, scheduler) in MODELS.items():
        write_tiny_model(root / name, in_channels=channels, scheduler=scheduler, family=family)
    entries = {name: {"family": MODELS[name][0]} for name in MODELS}
    few_steps = {
        f"{name}_{sampler.value}": entries[name]
        | {"path": name, "few_steps": {"sampler": sampler.value, "guidance_scale": 3.0}}
        for name, sampler in DISTILLED_CASES
    }
    return write_registry(root, **entries, **few_steps)


@pytest.mark.parametrize(("name", "sampler"), CASES)
def test_full_strength_gives_the_latents_of_diffusers(
    name: str, sampler: Sampler, registry: Registry
) -> None:
    if sampler is Sampler.HEUN and "zero_snr" in name:
        pytest.skip(HEUN_EXPLODES)
    job = inpainting_job(name, sampler, FOREGROUND)
    assert_latents_of_diffusers(job, registry, bleed(FOREGROUND))


@pytest.mark.parametrize(("name", "sampler"), CASES)
def test_reference_strength_gives_the_latents_of_diffusers(
    name: str, sampler: Sampler, registry: Registry
) -> None:
    job = inpainting_job(name, sampler, FOREGROUND, REFERENCE, 0.7)
    assert_latents_of_diffusers(job, registry, REFERENCE)


@pytest.mark.parametrize(("name", "sampler"), WEAK_CASES)
def test_a_weak_repaint_gives_the_latents_of_diffusers(
    name: str, sampler: Sampler, registry: Registry
) -> None:
    job = inpainting_job(name, sampler, FOREGROUND, REFERENCE, 0.1)
    assert_latents_of_diffusers(job, registry, REFERENCE)


@pytest.mark.parametrize(("name", "sampler"), DISTILLED_CASES)
def test_few_steps_give_the_latents_of_diffusers(
    name: str, sampler: DistilledSampler, registry: Registry
) -> None:
    job = inpainting_job(f"{name}_{sampler.value}", Sampler.EULER, FOREGROUND)
    job = replace(job, sampler=None, guidance_scale=None)
    assert_latents_of_diffusers(job, registry, bleed(FOREGROUND))


def test_guidance_of_one_gives_the_latents_of_diffusers(registry: Registry) -> None:
    job = inpainting_job("nine_epsilon", Sampler.EULER, FOREGROUND, guidance_scale=1.0)
    assert_latents_of_diffusers(job, registry, bleed(FOREGROUND))
