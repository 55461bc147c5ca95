"""The steps of a sampler as plain numbers.

Every sampler is linear, so all that its scheduler object knows of a step is a few weights
(`engine.scheduler_probe`). With them any number of images, each at its own step of its own
sampler, advance together by one weighted sum (`engine.sampler_state`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from engine.job import AnySampler
from engine.samplers import make_scheduler
from engine.schedule import NoiseSchedule, StepSchedule
from engine.scheduler_probe import CARRIED, probe


@dataclass(frozen=True, slots=True, eq=False)
class SamplerStep:
    """What one forward does to a sample.

    Attributes:
        timestep: what the UNet is told.
        input_scale: factor of the sample on its way into the UNet.
        weights: float32 (2, NUM_TERMS) on the CPU, of the next sample and of the carried value.
        factors: the same as numbers.
        terms: those that have a weight, rising.
        carries: whether a value is carried on to the next step.
        draws_noise: whether the generator is asked, be the weight of its noise 0.
    """

    timestep: float
    input_scale: float
    weights: torch.Tensor
    factors: tuple[tuple[float, ...], ...]
    terms: tuple[int, ...]
    carries: bool
    draws_noise: bool


@dataclass(frozen=True, slots=True, eq=False)
class SamplerSteps:
    """One pass of one sampler. Holds nothing of an image: images of equal steps share it.

    Attributes:
        steps: one a forward.
        timesteps: what the UNet is told at each.
        init_noise_sigma: standard deviation of the sample at pure noise.
        noise_levels: factors of image and noise before each forward.
        look_back: how many earlier forwards the steps look back on, 0..MAX_LOOK_BACK.
    """

    steps: tuple[SamplerStep, ...]
    timesteps: tuple[float, ...]
    init_noise_sigma: float
    noise_levels: tuple[tuple[float, float], ...]
    look_back: int

    def noised(
        self, image_latents: torch.Tensor, noise: torch.Tensor, step_index: int
    ) -> torch.Tensor:
        """The image at the noise level before forward `step_index`; as it is behind the last.

        Args:
            image_latents: float32 (1, C, h, w).
            noise: likewise.
            step_index: 0..number of forwards.
        """
        if step_index == len(self.steps):
            return image_latents
        of_image, of_noise = self.noise_levels[step_index]
        return of_image * image_latents + of_noise * noise


@lru_cache(maxsize=256)
def sampler_steps(
    sampler: AnySampler,
    noise_schedule: NoiseSchedule,
    num_steps: int,
    schedule: StepSchedule | None,
) -> SamplerSteps:
    """The steps of one pass, kept for the next pass of the same.

    To be called where torch's default dtype stands still (`default_dtype`): UniPC computes in it.

    Args:
        sampler: which algorithm.
        noise_schedule: the checkpoint's.
        num_steps: N of the pass.
        schedule: explicit timesteps and sigmas; None for the sampler's own.
    """
    return read_steps(make_scheduler(sampler, noise_schedule, num_steps, schedule))


def read_steps(scheduler: Any) -> SamplerSteps:
    """All steps of a scheduler object of diffusers, ready for step 0; leaves it at its end.

    Raises:
        ValueError: a step is not linear, or looks back too far.
    """
    init_noise_sigma = float(scheduler.init_noise_sigma)
    timesteps = tuple(float(timestep) for timestep in scheduler.timesteps)
    probed = probe(scheduler)
    weights = torch.from_numpy(probed.weights).float()
    steps = tuple(
        SamplerStep(
            timestep=timestep,
            input_scale=float(probed.input_scales[index]),
            weights=weights[index],
            factors=tuple(map(tuple, weights[index].tolist())),
            terms=tuple(np.flatnonzero(probed.weights[index].any(axis=0)).tolist()),
            carries=bool(probed.weights[index, 1].any()),
            draws_noise=bool(probed.draws_noise[index]),
        )
        for index, timestep in enumerate(timesteps)
    )
    furthest = max(term for step in steps for term in step.terms)
    return SamplerSteps(
        steps=steps,
        timesteps=timesteps,
        init_noise_sigma=init_noise_sigma,
        noise_levels=tuple((float(image), float(noise)) for image, noise in probed.noise_levels),
        look_back=max(0, (furthest - CARRIED + 1) // 2),
    )
