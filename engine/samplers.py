"""Sampler names -> diffusers scheduler objects, one object a lane."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from diffusers.schedulers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    UniPCMultistepScheduler,
)
from numpy.polynomial import Polynomial

from engine.job import Sampler
from engine.schedule import KARRAS_MAX_SIGMA, NoiseSchedule, StepSchedule, num_forwards

# Models with an ordinary terminal SNR start below: Stable Diffusion at 14.6.
HEUN_MAX_SIGMA = 20.0


class Scheduler(Protocol):
    """What the step loop uses of diffusers' scheduler classes.

    Attributes:
        timesteps: what the UNet is told at each forward (`num_forwards` of N steps).
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
    scheduler: Any = _new_scheduler(sampler, noise_schedule)
    scheduler.set_timesteps(num_steps)
    if steps is not None:
        # No common API takes both; overwriting was checked for these classes.
        scheduler.timesteps = torch.tensor(steps.timesteps, dtype=torch.float32)
        scheduler.sigmas = torch.tensor(steps.sigmas, dtype=torch.float32)
    elif len(scheduler.timesteps) > num_forwards(sampler, num_steps):
        _drop_surplus_step(scheduler, num_steps, num_forwards(sampler, num_steps))
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    ready: Scheduler = scheduler
    return ready


def _drop_surplus_step(scheduler: Any, num_steps: int, forwards: int) -> None:
    """Undoes a rounding fault of trailing spacing in diffusers.

    `arange(T, 0, -T / N)` yields N + 1 values for some N (61 of the first hundred), the last one
    timestep -1 at a repeated sigma.
    """
    scheduler.timesteps = scheduler.timesteps[:forwards]
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = torch.cat([scheduler.sigmas[:forwards], scheduler.sigmas[-1:]])
    scheduler.num_inference_steps = num_steps


def step_arguments(scheduler: Scheduler, generator: torch.Generator) -> dict[str, Any]:
    """The extra arguments of `scheduler.step`: noise comes from the lane's own generator."""
    if isinstance(scheduler, EulerAncestralDiscreteScheduler):
        return {"generator": generator}
    return {}


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


class _ExactLMS(LMSDiscreteScheduler):  # type: ignore[misc]  # untyped
    """LMS with its coefficients integrated in closed form.

    They are integrals of polynomials, which diffusers' class takes numerically over torch scalars:
    2.8 ms a step and image, half as long as the forward of a full batch on a GPU. This takes 0.5 ms.
    """

    def get_lms_coefficient(self, order: int, t: int, current_order: int) -> float:
        """The integral of a Lagrange basis polynomial from sigma t to sigma t + 1."""
        # From sigma t on: float64 then holds the sums of high powers well.
        nodes = (self.sigmas[t - order + 1 : t + 2] - self.sigmas[t]).double().numpy()
        past, end = nodes[-2::-1], nodes[-1]
        others = np.delete(past, current_order)
        basis = Polynomial.fromroots(others) if len(others) else Polynomial([1.0])
        scale = np.prod(past[current_order] - others)
        return float(basis.integ()(end) / scale)


def _new_scheduler(sampler: Sampler, noise_schedule: NoiseSchedule) -> Any:
    """A scheduler object on the checkpoint's betas, without steps yet."""
    config: dict[str, Any] = {
        "trained_betas": list(noise_schedule.betas),
        "num_train_timesteps": len(noise_schedule.betas),
        "prediction_type": noise_schedule.prediction_type,
        "timestep_spacing": noise_schedule.timestep_spacing,
        "steps_offset": noise_schedule.steps_offset,
    }
    match sampler:
        case Sampler.DDIM:
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


_CLASSES: dict[Sampler, Any] = {
    Sampler.EULER: EulerDiscreteScheduler,
    Sampler.EULER_ANCESTRAL: EulerAncestralDiscreteScheduler,
    Sampler.DPMPP_2M: DPMSolverMultistepScheduler,
    Sampler.DPMPP_2M_KARRAS: DPMSolverMultistepScheduler,
    Sampler.UNIPC: UniPCMultistepScheduler,
    Sampler.LMS: _ExactLMS,
    Sampler.HEUN: _Heun,
    Sampler.DDIM: DDIMScheduler,
}
