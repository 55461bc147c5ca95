"""Sampler names -> diffusers scheduler objects, of which `engine.sampler_steps` reads the steps."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.schedulers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)

from engine.job import AnySampler, DistilledSampler, Sampler
from engine.schedule import KARRAS_MAX_SIGMA, NoiseSchedule, StepSchedule, num_forwards

# Models with an ordinary terminal SNR start below: Stable Diffusion at 14.6.
HEUN_MAX_SIGMA = 20.0


def make_scheduler(
    sampler: AnySampler, noise_schedule: NoiseSchedule, num_steps: int, steps: StepSchedule | None
) -> Any:
    """A scheduler object ready for step 0.

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
    scheduler: Any = _new_scheduler(sampler, noise_schedule)
    scheduler.set_timesteps(num_steps)
    if steps is not None and isinstance(sampler, DistilledSampler):
        # Whole timesteps, by which these classes look up their noise levels.
        scheduler.timesteps = torch.tensor(steps.timesteps).long()
    elif steps is not None:
        # No common API takes both; overwriting was checked for these classes.
        scheduler.timesteps = torch.tensor(steps.timesteps, dtype=torch.float32)
        scheduler.sigmas = torch.tensor(steps.sigmas, dtype=torch.float32)
    elif len(scheduler.timesteps) > num_forwards(sampler, num_steps):
        _drop_surplus_step(scheduler, num_steps, num_forwards(sampler, num_steps))
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    return scheduler


def _drop_surplus_step(scheduler: Any, num_steps: int, forwards: int) -> None:
    """Undoes a rounding fault of trailing spacing in diffusers.

    `arange(T, 0, -T / N)` yields N + 1 values for some N (61 of the first hundred), the last one
    timestep -1 at a repeated sigma.
    """
    scheduler.timesteps = scheduler.timesteps[:forwards]
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = torch.cat([scheduler.sigmas[:forwards], scheduler.sigmas[-1:]])
    scheduler.num_inference_steps = num_steps


class _SampleEulerAncestral(EulerAncestralDiscreteScheduler):  # type: ignore[misc]  # untyped
    """Euler a on models that predict the clean sample: diffusers' class knows only the others."""

    def step(self, model_output: Any, timestep: Any, sample: Any, **arguments: Any) -> Any:
        """The same step on the noise that the predicted clean sample implies."""
        sigma = self.sigmas[self.step_index]
        return super().step((sample - model_output) / sigma, timestep, sample, **arguments)


class _Heun(HeunDiscreteScheduler):  # type: ignore[misc]  # untyped
    """Heun that also stands a start from zero terminal SNR.

    Heun takes the mean of the slopes at both ends of a step. From sigma 4096 to 7 that multiplies
    the change between the two predicted images by (4096 - 7) / (2 * 7) and the sample explodes.
    Above `HEUN_MAX_SIGMA` this takes the mean of the two images instead, second order in log
    sigma.
    """

    def step(self, model_output: Any, timestep: Any, sample: Any, **arguments: Any) -> Any:
        """The class's own step; the second forward of a step from high up lands elsewhere."""
        if self.state_in_first_order:
            result = super().step(model_output, timestep, sample, **arguments)
            self._first_image = result[1]
            return result
        start, sigmas = self.sample, self.sigmas[self.step_index - 1 : self.step_index + 1]
        result = super().step(model_output, timestep, sample, **arguments)
        if sigmas[0] <= HEUN_MAX_SIGMA:
            return result
        image, kept = (self._first_image + result[1]) / 2, sigmas[1] / sigmas[0]
        return kept * start + (1 - kept) * image, result[1]


def _new_scheduler(sampler: AnySampler, noise_schedule: NoiseSchedule) -> Any:
    """A scheduler object on the checkpoint's betas, without steps yet."""
    config: dict[str, Any] = {
        "trained_betas": list(noise_schedule.betas),
        "num_train_timesteps": len(noise_schedule.betas),
        "prediction_type": noise_schedule.prediction_type,
        "timestep_spacing": noise_schedule.timestep_spacing,
        "steps_offset": noise_schedule.steps_offset,
    }
    match sampler:
        case Sampler.DDIM | DistilledSampler():
            config |= {"clip_sample": False, "set_alpha_to_one": noise_schedule.set_alpha_to_one}
        case Sampler.EULER_ANCESTRAL if noise_schedule.prediction_type == "sample":
            return _SampleEulerAncestral.from_config(config | {"prediction_type": "epsilon"})
        case Sampler.DPMPP_2M_KARRAS:
            karras = _CLASSES[sampler].from_config(config | {"use_karras_sigmas": True})
            if noise_schedule.training_sigmas()[-1] > KARRAS_MAX_SIGMA:
                # No argument of the class, but read where it computes Karras sigmas.
                karras.register_to_config(sigma_max=KARRAS_MAX_SIGMA)
            return karras
    return _CLASSES[sampler].from_config(config)


_CLASSES: dict[AnySampler, Any] = {
    Sampler.EULER: EulerDiscreteScheduler,
    Sampler.EULER_ANCESTRAL: EulerAncestralDiscreteScheduler,
    Sampler.DPMPP_2M: DPMSolverMultistepScheduler,
    Sampler.DPMPP_2M_KARRAS: DPMSolverMultistepScheduler,
    Sampler.UNIPC: UniPCMultistepScheduler,
    Sampler.LMS: LMSDiscreteScheduler,
    Sampler.HEUN: _Heun,
    Sampler.DDIM: DDIMScheduler,
    DistilledSampler.LCM: LCMScheduler,
    DistilledSampler.TCD: TCDScheduler,
}
