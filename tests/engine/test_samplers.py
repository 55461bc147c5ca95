"""Every sampler runs exactly the steps it was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine.job import Sampler
from engine.sampler_state import SamplerState, advance, model_inputs
from engine.sampler_steps import sampler_steps
from engine.samplers import make_scheduler
from engine.schedule import (
    KARRAS_MAX_SIGMA,
    NoiseSchedule,
    num_forwards,
    partial_schedule,
    read_noise_schedule,
)

SPACINGS = ["leading", "linspace", "trailing"]
PREDICTION_TYPES = ["epsilon", "v_prediction", "sample"]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("sampler", Sampler)
def test_full_schedule_has_the_asked_steps(sampler: Sampler, spacing: str) -> None:
    schedule = read_noise_schedule({"timestep_spacing": spacing, "steps_offset": 1})
    for num_steps in range(1, 101):  # 61 trips diffusers' trailing spacing
        scheduler = make_scheduler(sampler, schedule, num_steps, None)
        assert len(scheduler.timesteps) == num_forwards(sampler, num_steps)
        assert scheduler.timesteps.min() >= 0
        levels = _levels(sampler, scheduler)
        assert len(levels) == num_steps
        assert torch.all(torch.diff(levels) < 0)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_karras_starts_at_80_where_the_terminal_snr_is_zero(spacing: str) -> None:
    for zero_snr in (False, True):
        schedule = _schedule("v_prediction", zero_snr, spacing)
        training = schedule.training_sigmas()
        scheduler: Any = make_scheduler(Sampler.DPMPP_2M_KARRAS, schedule, 10, None)
        first = KARRAS_MAX_SIGMA if zero_snr else training[-1]
        expected = np.linspace(first ** (1 / 7), training[0] ** (1 / 7), 10) ** 7
        np.testing.assert_allclose(scheduler.sigmas[:-1], expected, rtol=1e-4)


@pytest.mark.parametrize("num_steps", [6, 61])
@pytest.mark.parametrize("strength", [None, 0.5, 0.003])
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("sampler", Sampler)
def test_a_perfect_model_leads_to_its_image(
    sampler: Sampler, prediction_type: str, strength: float | None, num_steps: int
) -> None:
    """With the truth predicted at every step, each sampler must end at the clean image."""
    schedule = _schedule(prediction_type, zero_snr=prediction_type == "v_prediction")
    steps = None
    if strength is not None:
        steps = partial_schedule(schedule, strength, num_steps, sampler)
    scheduler = make_scheduler(sampler, schedule, num_steps, steps)
    weights = sampler_steps(sampler, schedule, num_steps, steps)
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(1, 4, 4, 4, generator=generator)
    noise = torch.randn(1, 4, 4, 4, generator=generator)
    start = noise * weights.init_noise_sigma if steps is None else weights.noised(image, noise, 0)
    state = SamplerState(weights, start, generator)
    while not state.is_finished:
        alpha_bar = _alpha_bar(scheduler, state.step_index)
        true_noise = (model_inputs([state]) - alpha_bar**0.5 * image) / (1 - alpha_bar) ** 0.5
        velocity = alpha_bar**0.5 * true_noise - (1 - alpha_bar) ** 0.5 * image
        truth = {"epsilon": true_noise, "v_prediction": velocity, "sample": image}
        advance([state], truth[prediction_type].float())
    # DDIM ends at its first training alpha-bar, not at 1.
    torch.testing.assert_close(state.latents, image, rtol=0, atol=0.1)


@pytest.mark.parametrize("num_steps", [6, 20, 61])
def test_heun_survives_a_revised_guess_on_its_step_from_zero_terminal_snr(num_steps: int) -> None:
    """The image lands between both guesses; the mean slope would throw it off by up to 29."""
    schedule = _schedule("sample", zero_snr=True)
    steps = sampler_steps(Sampler.HEUN, schedule, num_steps, None)
    image, noise = torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    state = SamplerState(steps, image + noise * steps.init_noise_sigma, torch.Generator())
    for guess in (image, image + 0.1):
        advance([state], guess)
    _, sigma = steps.noise_levels[2]
    reached = state.latents - noise * sigma
    torch.testing.assert_close(reached, image + 0.05, rtol=0, atol=0.01)


def _schedule(prediction_type: str, zero_snr: bool, spacing: str = "trailing") -> NoiseSchedule:
    return read_noise_schedule(
        {
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "prediction_type": prediction_type,
            "timestep_spacing": spacing,
            "rescale_betas_zero_snr": zero_snr,
        }
    )


def _levels(sampler: Sampler, scheduler: Any) -> torch.Tensor:
    """What must fall from step to step: sigmas; DDIM has only timesteps."""
    if sampler is Sampler.DDIM:
        return scheduler.timesteps
    sigmas = scheduler.sigmas[:-1]
    return sigmas[::2] if sampler is Sampler.HEUN else sigmas


def _alpha_bar(scheduler: object, index: int) -> torch.Tensor:
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None:
        return 1 / (sigmas[index].double() ** 2 + 1)
    return scheduler.alphas_cumprod[scheduler.timesteps[index]]
