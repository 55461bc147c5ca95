"""Training betas and the explicit schedules below strength 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler

from engine.job import Sampler
from engine.schedule import (
    KARRAS_MAX_SIGMA,
    NoiseSchedule,
    num_forwards,
    partial_schedule,
    read_noise_schedule,
)

STABLE_DIFFUSION = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
STRENGTHS = [0.999, 0.7, 0.3, 0.1, 0.01, 0.003, 0.001, 0.0001]


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


@pytest.mark.parametrize("sampler", [Sampler.EULER, Sampler.DPMPP_2M_KARRAS])
@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("num_steps", [1, 6, 10, 100])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_exactly_the_asked_steps_run_on_falling_sigmas(
    strength: float, num_steps: int, zero_snr: bool, sampler: Sampler
) -> None:
    steps = partial_schedule(_schedule(zero_snr), strength, num_steps, sampler)
    assert len(steps.timesteps) == num_steps == num_forwards(sampler, num_steps)
    assert len(steps.sigmas) == num_steps + 1
    assert steps.sigmas[-1] == 0.0
    assert np.all(np.diff(np.float32(steps.sigmas)) < 0)
    assert min(steps.timesteps) >= 0
    assert np.all(np.diff(steps.timesteps) <= 0)


@pytest.mark.parametrize("num_steps", [1, 6, 100])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_heun_looks_twice_at_each_level_of_euler_but_the_first(
    strength: float, num_steps: int
) -> None:
    euler = partial_schedule(_schedule(), strength, num_steps, Sampler.EULER)
    heun = partial_schedule(_schedule(), strength, num_steps, Sampler.HEUN)
    forwards = num_forwards(Sampler.HEUN, num_steps)
    assert len(heun.timesteps) == forwards == 2 * num_steps - 1
    assert len(heun.sigmas) == forwards + 1
    assert heun.timesteps[0::2] == euler.timesteps
    assert heun.timesteps[1::2] == euler.timesteps[1:]
    assert heun.sigmas[:-1:2] == euler.sigmas[:-1]
    assert heun.sigmas[1::2] == euler.sigmas[1:]


@pytest.mark.parametrize("strength", STRENGTHS)
def test_karras_keeps_first_and_last_level_and_spaces_the_seventh_roots(strength: float) -> None:
    even = partial_schedule(_schedule(), strength, 10, Sampler.EULER)
    steps = partial_schedule(_schedule(), strength, 10, Sampler.DPMPP_2M_KARRAS)
    assert steps.sigmas[0] == pytest.approx(even.sigmas[0])
    assert steps.sigmas[-2] == pytest.approx(even.sigmas[-2])
    gaps = np.diff(np.power(steps.sigmas[:-1], 1 / 7))
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-6)


def test_karras_timesteps_are_those_of_its_sigmas() -> None:
    steps = partial_schedule(_schedule(), 0.7, 10, Sampler.DPMPP_2M_KARRAS)
    training = _schedule().training_sigmas()
    for timestep, sigma in zip(steps.timesteps, steps.sigmas, strict=False):
        below, above = training[int(timestep)], training[int(timestep) + 1]
        assert below <= sigma * (1 + 1e-9)
        assert sigma <= above * (1 + 1e-9)


def test_karras_starts_no_higher_than_80_below_strength_1_too() -> None:
    steps = partial_schedule(_schedule(zero_snr=True), 0.9999, 10, Sampler.DPMPP_2M_KARRAS)
    even = partial_schedule(_schedule(zero_snr=True), 0.9999, 10, Sampler.EULER)
    assert even.sigmas[0] > KARRAS_MAX_SIGMA
    assert steps.sigmas[0] == pytest.approx(KARRAS_MAX_SIGMA)


def test_strength_sets_the_first_timestep() -> None:
    steps = partial_schedule(_schedule(), 0.7, 10, Sampler.EULER)
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


def _schedule(zero_snr: bool = False) -> NoiseSchedule:
    return read_noise_schedule(STABLE_DIFFUSION | {"rescale_betas_zero_snr": zero_snr})
