"""Step spacings an entry may ask for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from diffusers.schedulers import AysSchedules

from engine.families import Family
from engine.job import Sampler
from engine.schedule import NoiseSchedule, StepSchedule, read_noise_schedule
from engine.step_spacing import (
    ALIGN_YOUR_STEPS,
    StepSpacing,
    pass_schedule,
    why_not_align_your_steps,
)

CONFIG = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULE = read_noise_schedule(CONFIG)
ZERO_SNR = read_noise_schedule(CONFIG | {"rescale_betas_zero_snr": True})
NAMES: dict[Family, str] = {"sd1": "StableDiffusion", "sdxl": "StableDiffusionXL"}


def _steps(
    spacing: StepSpacing | None,
    *,
    num_steps: int = 10,
    strength: float = 1.0,
    sampler: Sampler = Sampler.EULER,
    family: Family = "sd1",
    schedule: NoiseSchedule = SCHEDULE,
) -> StepSchedule | None:
    return pass_schedule(
        schedule, family, spacing, strength=strength, num_steps=num_steps, sampler=sampler
    )


@pytest.mark.parametrize("family", NAMES)
def test_ten_steps_are_the_published_ones(family: Family) -> None:
    steps = _steps("align_your_steps", family=family)
    assert steps is not None
    np.testing.assert_allclose(steps.sigmas, AysSchedules[f"{NAMES[family]}Sigmas"], rtol=1e-9)
    theirs = AysSchedules[f"{NAMES[family]}Timesteps"]
    np.testing.assert_allclose(steps.timesteps, theirs, atol=1.5)


@pytest.mark.parametrize("sampler", [Sampler.EULER, Sampler.HEUN, Sampler.DDIM])
@pytest.mark.parametrize("strength", [1.0, 0.5, 0.1, 0.003])
@pytest.mark.parametrize("num_steps", [6, 7, 10, 40])
@pytest.mark.parametrize("spacing", ["trailing", "align_your_steps"])
def test_any_number_of_steps_falls_from_the_strength_to_zero(
    spacing: StepSpacing, num_steps: int, strength: float, sampler: Sampler
) -> None:
    steps = _steps(spacing, num_steps=num_steps, strength=strength, sampler=sampler)
    assert steps is not None
    levels = np.float32(steps.sigmas[:-1])
    levels = levels[::2] if sampler is Sampler.HEUN else levels
    assert len(levels) == num_steps
    assert np.all(np.diff(levels) < 0)
    assert steps.sigmas[-1] == 0.0
    default = _steps(None, num_steps=num_steps, strength=min(strength, 0.999999), sampler=sampler)
    assert default is not None
    assert steps.sigmas[0] == pytest.approx(default.sigmas[0], rel=1e-3)


def test_more_steps_lie_on_the_curve_of_the_table() -> None:
    steps = _steps("align_your_steps", num_steps=20)
    assert steps is not None
    levels = ALIGN_YOUR_STEPS["sd1"]
    np.testing.assert_allclose(steps.sigmas[:-1:2], levels[:-1], rtol=1e-9)
    between = np.sqrt(np.multiply(levels[:-1], levels[1:]))
    np.testing.assert_allclose(steps.sigmas[1::2], between, rtol=1e-9)


@pytest.mark.parametrize("num_steps", [8, 10, 20])
def test_trailing_steps_are_those_of_diffusers(num_steps: int) -> None:
    theirs = EulerDiscreteScheduler(**CONFIG, timestep_spacing="trailing")
    theirs.set_timesteps(num_steps)
    ours = _steps("trailing", num_steps=num_steps)
    assert ours is not None
    torch.testing.assert_close(torch.tensor(ours.timesteps), theirs.timesteps)
    torch.testing.assert_close(torch.tensor(ours.sigmas), theirs.sigmas, rtol=1e-4, atol=0)


@pytest.mark.parametrize("spacing", ["trailing", "align_your_steps"])
def test_karras_keeps_its_own_spacing(spacing: StepSpacing) -> None:
    assert _steps(spacing, sampler=Sampler.DPMPP_2M_KARRAS) is None
    partial = _steps(spacing, sampler=Sampler.DPMPP_2M_KARRAS, strength=0.5)
    assert partial == _steps(None, sampler=Sampler.DPMPP_2M_KARRAS, strength=0.5)


def test_without_a_wish_pure_noise_has_the_samplers_own_steps() -> None:
    assert _steps(None) is None
    assert _steps(None, strength=0.5) is not None


def test_tables_are_for_the_models_they_were_made_for() -> None:
    assert why_not_align_your_steps(SCHEDULE, "sd1") is None
    assert why_not_align_your_steps(SCHEDULE, "sdxl") is None
    assert "sd2" in str(why_not_align_your_steps(SCHEDULE, "sd2"))
    assert "4096" in str(why_not_align_your_steps(ZERO_SNR, "sd1"))
