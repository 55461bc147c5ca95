"""Noise schedules: the checkpoint's training betas, and the timesteps and sigmas of a job.

Plain numpy, so that planning needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.job import AnySampler, DistilledSampler, Sampler

# A zero terminal SNR is kept just above zero so that the first sigma is 4096, not infinite
# (Lin et al., arXiv 2305.08891; 2^-24 is the smallest float16 subnormal).
TERMINAL_ALPHA_BAR = 2.0**-24

# Karras spacing (arXiv 2206.00364) starts here at most, as in the paper: from the 4096 of a zero
# terminal SNR it would spend most of its steps on pure noise.
KARRAS_MAX_SIGMA = 80.0
KARRAS_RHO = 7.0


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """What every sampler of one checkpoint starts from.

    Attributes:
        betas: training betas, zero-terminal-SNR rescaling already applied.
        prediction_type: "epsilon", "v_prediction" or "sample".
        timestep_spacing: "leading", "linspace" or "trailing".
        steps_offset: added to leading timesteps.
        set_alpha_to_one: DDIM's last alpha-bar is 1 instead of the first training one.
    """

    betas: tuple[float, ...]
    prediction_type: str
    timestep_spacing: str
    steps_offset: int
    set_alpha_to_one: bool

    def training_sigmas(self) -> npt.NDArray[np.float64]:
        """sqrt((1 - alpha_bar) / alpha_bar) by training timestep, rising."""
        alpha_bar = np.cumprod(1.0 - np.asarray(self.betas, dtype=np.float64))
        sigmas: npt.NDArray[np.float64] = np.sqrt((1.0 - alpha_bar) / alpha_bar)
        return sigmas


@dataclass(frozen=True, slots=True)
class StepSchedule:
    """Explicit UNet forwards of one denoising pass.

    Attributes:
        timesteps: a float per forward, what the UNet is told; never rising.
        sigmas: one more, the last 0. Strictly falling, but that Heun, which looks at each level
            behind the first from both sides, has each of them twice, and that distilled samplers,
            which add fresh noise at each level, may repeat the last.
    """

    timesteps: tuple[float, ...]
    sigmas: tuple[float, ...]


def read_noise_schedule(config: Mapping[str, Any]) -> NoiseSchedule:
    """A scheduler_config.json as a `NoiseSchedule`.

    Raises:
        ValueError: an unknown beta schedule, prediction type or spacing.
    """
    prediction_type = str(config.get("prediction_type", "epsilon"))
    if prediction_type not in ("epsilon", "v_prediction", "sample"):
        raise ValueError(f"prediction_type {prediction_type!r} is not supported")
    spacing = str(config.get("timestep_spacing", "leading"))
    if spacing not in ("leading", "linspace", "trailing"):
        raise ValueError(f"timestep_spacing {spacing!r} is not supported")
    betas = _base_betas(config)
    if config.get("rescale_betas_zero_snr"):
        betas = _rescale_zero_terminal_snr(betas)
    return NoiseSchedule(
        betas=tuple(float(beta) for beta in betas),
        prediction_type=prediction_type,
        timestep_spacing=spacing,
        steps_offset=int(config.get("steps_offset", 0)),
        set_alpha_to_one=bool(config.get("set_alpha_to_one", True)),
    )


def num_forwards(sampler: AnySampler, num_steps: int) -> int:
    """UNet forwards of `num_steps` sampler steps.

    Heun takes two a step, but for the last one: there is nothing to look back from at sigma 0.
    """
    return 2 * num_steps - 1 if sampler is Sampler.HEUN else num_steps


def step_of_forward(sampler: AnySampler, forward: int) -> int:
    """Which sampler step a forward belongs to, both counted from 0."""
    return forward // 2 if sampler is Sampler.HEUN else forward


def partial_schedule(
    schedule: NoiseSchedule, strength: float, num_steps: int, sampler: AnySampler
) -> StepSchedule:
    """Exactly `num_steps` steps from noise level `strength` down (SDEdit, arXiv 2108.01073).

    Taking the tail of a longer schedule, as diffusers' pipelines do, gives strength * N steps and
    repeats timesteps at small strengths; here step i starts at t = strength * T * (1 - i/N) - 1.

    Args:
        schedule: the checkpoint's.
        strength: above 0, at most 1, where these are the timesteps of trailing spacing.
        num_steps: N, at least 1.
        sampler: Karras keeps the first and the last of these levels and takes its own spacing
            between them; Heun gets two forwards a step (`num_forwards`); distilled samplers know
            whole timesteps alone, of which the last repeat where the strength leaves too few.
    """
    training = schedule.training_sigmas()
    t_axis = np.arange(len(training))
    fractions = 1.0 - np.arange(num_steps) / num_steps
    timesteps = strength * len(training) * fractions - 1.0
    if isinstance(sampler, DistilledSampler):
        whole = np.clip(np.round(timesteps), 0, None)
        return _step_schedule(whole, training[whole.astype(int)], sampler)
    sigmas = np.interp(timesteps, t_axis, training)
    is_uneven = not strictly_falling(sigmas)
    if is_uneven:
        # Below the first training timestep the interpolation is flat.
        sigmas = np.geomspace(sigmas[0], min(training[0], sigmas[0] / 2), num_steps)
    if sampler is Sampler.DPMPP_2M_KARRAS:
        sigmas = _karras_spaced(min(sigmas[0], KARRAS_MAX_SIGMA), sigmas[-1], num_steps)
    if is_uneven or sampler is Sampler.DPMPP_2M_KARRAS:
        return at_sigmas(schedule, sigmas, sampler)
    return _step_schedule(np.clip(timesteps, 0.0, None), sigmas, sampler)


def at_sigmas(
    schedule: NoiseSchedule, sigmas: npt.NDArray[np.float64], sampler: AnySampler
) -> StepSchedule:
    """Steps that start at `sigmas`, strictly falling, each at the timestep of its noise level."""
    training = schedule.training_sigmas()
    timesteps = np.interp(np.log(sigmas), np.log(training), np.arange(len(training)))
    return _step_schedule(timesteps, sigmas, sampler)


def _step_schedule(
    timesteps: npt.NDArray[np.float64], sigmas: npt.NDArray[np.float64], sampler: AnySampler
) -> StepSchedule:
    if sampler is Sampler.HEUN:
        timesteps, sigmas = _twice_behind_first(timesteps), _twice_behind_first(sigmas)
    return StepSchedule(
        tuple(float(t) for t in timesteps), (*(float(sigma) for sigma in sigmas), 0.0)
    )


def _karras_spaced(first: float, last: float, num_steps: int) -> npt.NDArray[np.float64]:
    """Equation 5 of arXiv 2206.00364."""
    roots = np.linspace(first ** (1 / KARRAS_RHO), last ** (1 / KARRAS_RHO), num_steps)
    sigmas: npt.NDArray[np.float64] = roots**KARRAS_RHO
    return sigmas


def _twice_behind_first(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.repeat(values, 2)[1:]


def strictly_falling(sigmas: npt.NDArray[np.float64]) -> bool:
    """Whether no two are equal in the float32 that samplers run in."""
    return bool(np.all(np.diff(sigmas.astype(np.float32)) < 0))


def _base_betas(config: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    if config.get("trained_betas") is not None:
        return np.asarray(config["trained_betas"], dtype=np.float64)
    count = int(config.get("num_train_timesteps", 1000))
    start = float(config.get("beta_start", 0.0001))
    end = float(config.get("beta_end", 0.02))
    match config.get("beta_schedule", "linear"):
        case "linear":
            return np.linspace(start, end, count)
        case "scaled_linear":
            return np.square(np.linspace(math.sqrt(start), math.sqrt(end), count))
        case "squaredcos_cap_v2":
            steps = np.arange(count + 1) / count
            alpha_bar = np.cos((steps + 0.008) / 1.008 * math.pi / 2) ** 2
            betas: npt.NDArray[np.float64] = 1.0 - alpha_bar[1:] / alpha_bar[:-1]
            return np.minimum(betas, 0.999)
        case other:
            raise ValueError(f"beta_schedule {other!r} is not supported")


def _rescale_zero_terminal_snr(betas: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Algorithm 1 of arXiv 2305.08891, ending at `TERMINAL_ALPHA_BAR` instead of 0."""
    root = np.sqrt(np.cumprod(1.0 - betas))
    first, last = root[0], root[-1]
    alpha_bar = ((root - last) * first / (first - last)) ** 2
    alpha_bar[-1] = TERMINAL_ALPHA_BAR
    alphas = np.concatenate([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])
    rescaled: npt.NDArray[np.float64] = 1.0 - alphas
    return rescaled
