"""Which noise levels a denoising pass steps through. Plain numpy: the API plans every request."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from engine.families import Family
from engine.job import AnySampler, Sampler
from engine.schedule import (
    NoiseSchedule,
    StepSchedule,
    at_sigmas,
    partial_schedule,
    strictly_falling,
)

# How an entry of models.yaml spaces the steps of its jobs, where it says so.
StepSpacing: TypeAlias = Literal["trailing", "align_your_steps"]

# Noise levels found best for ten steps (Align Your Steps, arXiv 2404.14507); the eleventh is where
# the tenth step would end if it did not end at 0, and tells where more or fewer steps lie.
ALIGN_YOUR_STEPS: dict[Family, tuple[float, ...]] = {
    "sd1": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
}
# How far a checkpoint's highest noise level may be from the table's, as a ratio.
_TOLERANCE = 0.05


def pass_schedule(
    schedule: NoiseSchedule,
    family: Family,
    spacing: StepSpacing | None,
    *,
    strength: float,
    num_steps: int,
    sampler: AnySampler,
) -> StepSchedule | None:
    """Explicit steps of a pass; None where the sampler's own schedule from pure noise is wanted.

    Args:
        schedule: the checkpoint's.
        family: of the checkpoint.
        spacing: what its entry asks for; None takes the sampler's own, which is that of the
            checkpoint's scheduler config at strength 1 and `partial_schedule` below.
        strength: above 0, at most 1; 1 starts from pure noise.
        num_steps: N, at least 1.
        sampler: Karras always keeps its own spacing.
    """
    if sampler is Sampler.DPMPP_2M_KARRAS:
        spacing = None
    if spacing == "align_your_steps":
        return _align_your_steps(schedule, family, strength, num_steps, sampler)
    if spacing is None and strength == 1.0:
        return None
    return partial_schedule(schedule, strength, num_steps, sampler)


def why_not_align_your_steps(schedule: NoiseSchedule, family: Family) -> str | None:
    """Why the tables are of no use to a checkpoint; None where they are."""
    if family not in ALIGN_YOUR_STEPS:
        return f"there is no table for {family} models"
    highest, ours = ALIGN_YOUR_STEPS[family][0], schedule.training_sigmas()[-1]
    if abs(ours / highest - 1) > _TOLERANCE:
        return (
            f"the table starts at noise level {highest}, this checkpoint was trained to {ours:.4g}"
        )
    return None


def _align_your_steps(
    schedule: NoiseSchedule, family: Family, strength: float, num_steps: int, sampler: AnySampler
) -> StepSchedule:
    """The table's curve between the noise level of `strength` and its end, cut into N steps.

    The curve is log sigma over the share of the steps, straight between the table's points, as the
    paper's authors interpolate it.
    """
    curve = np.log(ALIGN_YOUR_STEPS[family])
    shares = np.linspace(0.0, 1.0, len(curve))
    first = 0.0
    if strength < 1.0:
        training = schedule.training_sigmas()
        level = np.interp(strength * len(training) - 1.0, np.arange(len(training)), training)
        first = float(np.interp(-np.log(level), -curve, shares))
    sigmas = np.exp(np.interp(np.linspace(first, 1.0, num_steps + 1)[:-1], shares, curve))
    if not strictly_falling(sigmas):  # the strength lies below the table's last level
        return partial_schedule(schedule, strength, num_steps, sampler)
    return at_sigmas(schedule, sigmas, sampler)
