"""Every sampler runs exactly the steps it was asked for."""

from __future__ import annotations

import pytest
import torch

from engine.job import Sampler
from engine.samplers import make_scheduler
from engine.schedule import partial_schedule, read_noise_schedule

SPACINGS = ["leading", "linspace", "trailing"]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("sampler", Sampler)
def test_full_schedule_has_the_asked_steps(sampler: Sampler, spacing: str) -> None:
    schedule = read_noise_schedule({"timestep_spacing": spacing, "steps_offset": 1})
    for num_steps in range(1, 101):  # 61 trips diffusers' trailing spacing
        scheduler = make_scheduler(sampler, schedule, num_steps, None)
        assert len(scheduler.timesteps) == num_steps
        assert scheduler.timesteps.min() >= 0
        assert torch.all(torch.diff(scheduler.timesteps.float()) < 0)


@pytest.mark.parametrize("num_steps", [6, 61])
@pytest.mark.parametrize("strength", [None, 0.5, 0.003])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sampler", Sampler)
def test_a_perfect_model_leads_to_its_image(
    sampler: Sampler, prediction_type: str, strength: float | None, num_steps: int
) -> None:
    """With the true noise predicted at every step, each sampler must end at the clean image."""
    config = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": prediction_type,
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": prediction_type == "v_prediction",
    }
    schedule = read_noise_schedule(config)
    steps = None if strength is None else partial_schedule(schedule, strength, num_steps)
    scheduler = make_scheduler(sampler, schedule, num_steps, steps)
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(1, 4, 4, 4, generator=generator)
    noise = torch.randn(1, 4, 4, 4, generator=generator)
    sample = (
        noise * scheduler.init_noise_sigma
        if steps is None
        else scheduler.add_noise(image, noise, scheduler.timesteps[:1])
    )
    arguments = {"generator": generator} if sampler is Sampler.EULER_ANCESTRAL else {}
    for index, timestep in enumerate(scheduler.timesteps):
        model_input = scheduler.scale_model_input(sample, timestep)
        alpha_bar = _alpha_bar(scheduler, index)
        true_noise = (model_input - alpha_bar**0.5 * image) / (1 - alpha_bar) ** 0.5
        velocity = alpha_bar**0.5 * true_noise - (1 - alpha_bar) ** 0.5 * image
        output = true_noise if prediction_type == "epsilon" else velocity
        sample = scheduler.step(output, timestep, sample, **arguments, return_dict=False)[0]
    # DDIM ends at its first training alpha-bar, not at 1.
    torch.testing.assert_close(sample, image, rtol=0, atol=0.1)


def _alpha_bar(scheduler: object, index: int) -> torch.Tensor:
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None:
        return 1 / (sigmas[index].double() ** 2 + 1)
    return scheduler.alphas_cumprod[scheduler.timesteps[index]]
