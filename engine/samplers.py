"""Sampler names -> diffusers scheduler objects, one object a lane."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from diffusers.schedulers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)

from engine.job import Sampler
from engine.schedule import NoiseSchedule, StepSchedule


class Scheduler(Protocol):
    """What the step loop uses of diffusers' scheduler classes.

    Attributes:
        timesteps: (N,), what the UNet is told at each step.
        init_noise_sigma: standard deviation of the sample at pure noise.
    """

    timesteps: torch.Tensor
    init_noise_sigma: float | torch.Tensor

    def scale_model_input(self, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """The sample at the scale the UNet was trained on."""
        ...

    def add_noise(
        self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """`original_samples` at the noise level of the current step."""
        ...

    def step(
        self,
        model_output: torch.Tensor,
        timestep: torch.Tensor,
        sample: torch.Tensor,
        *,
        return_dict: bool,
        **arguments: Any,
    ) -> tuple[torch.Tensor, ...]:
        """The sample one step further, first of the tuple."""
        ...


def make_scheduler(
    sampler: Sampler, noise_schedule: NoiseSchedule, num_steps: int, steps: StepSchedule | None
) -> Scheduler:
    """A scheduler ready for step 0.

    Args:
        sampler: which algorithm.
        noise_schedule: the checkpoint's. Its betas go in as `trained_betas`: some scheduler
            classes silently ignore `rescale_betas_zero_snr`.
        num_steps: N of the pass.
        steps: explicit timesteps and sigmas; None keeps the class's own `set_timesteps(N)`.
    """
    if steps is not None and sampler is Sampler.DDIM:
        # DDIM with eta 0 is Euler on the same sigmas; the class itself can only walk integer
        # timesteps by T // N.
        sampler = Sampler.EULER
    scheduler: Any = _CLASSES[sampler].from_config(_config(sampler, noise_schedule))
    scheduler.set_timesteps(num_steps)
    if steps is not None:
        # No common API takes both; overwriting was checked for these classes.
        scheduler.timesteps = torch.tensor(steps.timesteps, dtype=torch.float32)
        scheduler.sigmas = torch.tensor(steps.sigmas, dtype=torch.float32)
    elif len(scheduler.timesteps) > num_steps:
        _drop_surplus_step(scheduler, num_steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    ready: Scheduler = scheduler
    return ready


def _drop_surplus_step(scheduler: Any, num_steps: int) -> None:
    """Undoes a rounding fault of trailing spacing in diffusers.

    `arange(T, 0, -T / N)` yields N + 1 values for some N (61 of the first hundred), the last one
    timestep -1 at a repeated sigma.
    """
    scheduler.timesteps = scheduler.timesteps[:num_steps]
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = torch.cat([scheduler.sigmas[:num_steps], scheduler.sigmas[-1:]])
    scheduler.num_inference_steps = num_steps


def step_arguments(scheduler: Scheduler, generator: torch.Generator) -> dict[str, Any]:
    """The extra arguments of `scheduler.step`: noise comes from the lane's own generator."""
    if isinstance(scheduler, EulerAncestralDiscreteScheduler):
        return {"generator": generator}
    return {}


def _config(sampler: Sampler, noise_schedule: NoiseSchedule) -> dict[str, Any]:
    config: dict[str, Any] = {
        "trained_betas": list(noise_schedule.betas),
        "num_train_timesteps": len(noise_schedule.betas),
        "prediction_type": noise_schedule.prediction_type,
        "timestep_spacing": noise_schedule.timestep_spacing,
        "steps_offset": noise_schedule.steps_offset,
    }
    if sampler is Sampler.DDIM:
        config |= {"clip_sample": False, "set_alpha_to_one": noise_schedule.set_alpha_to_one}
    return config


_CLASSES: dict[Sampler, Any] = {
    Sampler.EULER: EulerDiscreteScheduler,
    Sampler.EULER_ANCESTRAL: EulerAncestralDiscreteScheduler,
    Sampler.DPMPP_2M: DPMSolverMultistepScheduler,
    Sampler.DDIM: DDIMScheduler,
}
