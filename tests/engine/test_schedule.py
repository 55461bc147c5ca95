"""Training betas and the explicit schedules below strength 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler

from engine.schedule import NoiseSchedule, partial_schedule, read_noise_schedule

STABLE_DIFFUSION = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("zero_snr", [False, True])
def test_betas_are_those_of_diffusers(beta_schedule: str, zero_snr: bool) -> None:
    config = STABLE_DIFFUSION | {
        "beta_schedule": beta_schedule,
        "rescale_betas_zero_snr": zero_snr,
    }
    theirs = EulerDiscreteScheduler(**config)
    ours = EulerDiscreteScheduler(trained_betas=list(read_noise_schedule(config).betas))
    torch.testing.assert_close(ours.alphas_cumprod, theirs.alphas_cumprod, rtol=1e-4, atol=1e-7)


def test_zero_terminal_snr_ends_at_sigma_4096() -> None:
    schedule = read_noise_schedule(STABLE_DIFFUSION | {"rescale_betas_zero_snr": True})
    assert schedule.training_sigmas()[-1] == pytest.approx(4096, rel=1e-3)


@pytest.mark.parametrize("num_steps", [1, 6, 10, 100])
@pytest.mark.parametrize("strength", [0.999, 0.7, 0.3, 0.1, 0.01, 0.003, 0.001, 0.0001])
def test_exactly_the_asked_steps_run_on_falling_sigmas(strength: float, num_steps: int) -> None:
    steps = partial_schedule(_schedule(), strength, num_steps)
    assert len(steps.timesteps) == num_steps
    assert len(steps.sigmas) == num_steps + 1
    assert steps.sigmas[-1] == 0.0
    assert np.all(np.diff(np.float32(steps.sigmas)) < 0)
    assert min(steps.timesteps) >= 0
    assert np.all(np.diff(steps.timesteps) <= 0)


def test_strength_sets_the_first_timestep() -> None:
    steps = partial_schedule(_schedule(), 0.7, 10)
    assert steps.timesteps[0] == pytest.approx(699)
    assert steps.timesteps[5] == pytest.approx(349)
    assert steps.sigmas[0] == pytest.approx(_schedule().training_sigmas()[699])


@pytest.mark.parametrize(
    "change",
    [{"prediction_type": "flow"}, {"timestep_spacing": "odd"}, {"beta_schedule": "sigmoid"}],
)
def test_unknown_settings_are_refused(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        read_noise_schedule(STABLE_DIFFUSION | change)


def _schedule() -> NoiseSchedule:
    return read_noise_schedule(STABLE_DIFFUSION)
