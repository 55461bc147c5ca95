"""Reads off a scheduler object of diffusers what its steps do, as weights of a few terms.

A step is a weighted sum of the sample, the model output, fresh noise and what the scheduler
remembers of earlier forwards; its weights depend on no image. One run over basis vectors shows
them all.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

# Terms of a weighted sum. Behind them, for each earlier forward that is looked back on, the
# latest first: its sample, its model output.
SAMPLE, OUTPUT, NOISE, CARRIED = range(4)
MAX_LOOK_BACK = 3  # LMS of order 4
NUM_TERMS = 4 + 2 * MAX_LOOK_BACK

# A predictor-corrector keeps its corrected sample in this attribute. It depends on every forward
# before, so it is carried from step to step by a weighted sum of its own.
_CARRIED_ATTRIBUTE = "last_sample"

_NUM_CHECKS = 4
_CHECK_TOLERANCE = 1e-4
# What rounding and subtracting known noise may leave of a weight of 0, relative to the largest.
_NOTHING = 1e-12

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ProbedSteps:
    """What a scheduler does at each of its N forwards.

    Attributes:
        input_scales: (N,), factor of the sample on its way into the UNet.
        noise_levels: (N, 2), factors of image and noise in a noised image before the forward.
        weights: (N, 2, NUM_TERMS), of the next sample and of the value carried on.
        draws_noise: (N,), whether the generator is asked, be the weight of its noise 0.
    """

    input_scales: Array
    noise_levels: Array
    weights: Array
    draws_noise: npt.NDArray[np.bool_]


@torch.inference_mode()
def probe(scheduler: Any) -> ProbedSteps:
    """Runs a scheduler that is ready for step 0 to its end.

    Raises:
        ValueError: a step is not linear, or looks back on more than `MAX_LOOK_BACK` forwards.
    """
    run = _run_on_basis(scheduler)
    terms = _terms(run)
    weights = np.stack([_weights(run, run.results), _weights(run, run.carried_on)], axis=1)
    for row, values in enumerate((run.results, run.carried_on)):
        parts = weights[:, row, :, None] * terms
        error = np.abs(parts.sum(axis=1) - values)
        # Written so that a NaN fails.
        is_linear = np.all(error <= _CHECK_TOLERANCE * np.abs(parts).sum(axis=1), axis=1)
        if not is_linear.all():
            raise ValueError(
                f"{type(scheduler).__name__}: step {np.argmin(is_linear)} is no weighted sum of "
                f"sample, model output, noise and the last {MAX_LOOK_BACK} forwards"
            )
    largest = np.abs(weights).max(axis=2, keepdims=True)
    weights = np.where(np.abs(weights) <= _NOTHING * largest, 0.0, weights)
    draws_noise = np.asarray(run.noise.any(axis=1))
    return ProbedSteps(run.input_scales, run.noise_levels, weights, draws_noise)


@dataclass(frozen=True, slots=True)
class _BasisRun:
    """A run on many numbers at once, each an experiment of its own.

    Arrays are (N, K), a row for each of the N forwards. Of the K columns three a forward are 1 in
    one place and else 0: in its sample, in its output, and in the value it carries on. Then comes
    one that is always 0, which shows what noise adds; then random ones, to check the weights by.

    Attributes:
        samples: what each forward began with: any value, not the result of the forward before.
        outputs: of the model.
        noise: what was drawn; 0 where nothing was.
        carried: what was carried into each forward; 0 where nothing was.
        results: the next samples.
        carried_on: what the forward left to be carried, before that was replaced by its column.
        input_scales: (N,).
        noise_levels: (N, 2).
    """

    samples: Array
    outputs: Array
    noise: Array
    carried: Array
    results: Array
    carried_on: Array
    input_scales: Array
    noise_levels: Array


def _run_on_basis(scheduler: Any) -> _BasisRun:
    count = len(scheduler.timesteps)
    samples, outputs, carries = (_basis(count, place) for place in range(3))
    noise, carried, results, carried_on = (torch.zeros_like(samples) for _ in range(4))
    scales = torch.ones(count, 1, dtype=torch.float64)
    levels = torch.zeros(count, 2, dtype=torch.float64)
    image_and_noise = torch.eye(2, dtype=torch.float64)[:, None]
    generator = torch.Generator().manual_seed(0)
    arguments = {"generator": generator} if _takes_generator(scheduler) else {}
    for index, timestep in enumerate(scheduler.timesteps):
        now = slice(index, index + 1)
        levels[now] = scheduler.add_noise(*image_and_noise, scheduler.timesteps[now])
        scales[now] = scheduler.scale_model_input(scales[now], timestep)
        state = generator.get_state()
        results[now] = scheduler.step(
            outputs[now], timestep, samples[now], **arguments, return_dict=False
        )[0]
        if not torch.equal(generator.get_state(), state):
            again = torch.Generator()
            again.set_state(state)
            noise[now] = torch.randn(1, samples.shape[1], generator=again, dtype=torch.float64)
        left = getattr(scheduler, _CARRIED_ATTRIBUTE, None)
        if left is not None and index + 1 < count:
            carried_on[now] = left
            carried[index + 1] = carries[index]
            setattr(scheduler, _CARRIED_ATTRIBUTE, carries[now].clone())
    arrays = (samples, outputs, noise, carried, results, carried_on, scales[:, 0], levels)
    return _BasisRun(*(array.numpy() for array in arrays))


def _basis(count: int, place: int) -> torch.Tensor:
    """What goes into each forward at one of the three places."""
    rows = torch.zeros(count, 3 * count + 1 + _NUM_CHECKS, dtype=torch.float64)
    rows[range(count), range(place, 3 * count, 3)] = 1.0
    generator = torch.Generator().manual_seed(place)
    # Large, so that a limit put on the values shows.
    rows[:, -_NUM_CHECKS:] = 10 * torch.randn(count, _NUM_CHECKS, generator=generator)
    return rows


def _terms(run: _BasisRun) -> Array:
    """The value of every term at every forward: (N, NUM_TERMS, K)."""
    terms = np.zeros((len(run.samples), NUM_TERMS, run.samples.shape[1]))
    terms[:, SAMPLE] = run.samples
    terms[:, OUTPUT] = run.outputs
    terms[:, NOISE] = run.noise
    terms[:, CARRIED] = run.carried
    for ago in range(1, MAX_LOOK_BACK + 1):
        terms[ago:, CARRIED + 2 * ago - 1] = run.samples[:-ago]
        terms[ago:, CARRIED + 2 * ago] = run.outputs[:-ago]
    return terms


def _weights(run: _BasisRun, results: Array) -> Array:
    """`results` as weighted sums: (N, NUM_TERMS)."""
    count = len(results)
    # From column 3 i on: sample, output, carried on.
    columns = np.zeros(NUM_TERMS, dtype=np.int64)
    columns[[SAMPLE, OUTPUT, CARRIED]] = 0, 1, -1
    for ago in range(1, MAX_LOOK_BACK + 1):
        columns[[CARRIED + 2 * ago - 1, CARRIED + 2 * ago]] = -3 * ago, -3 * ago + 1
    still = 3 * count
    drawn = run.noise[:, still]
    of_noise = np.divide(results[:, still], drawn, out=np.zeros(count), where=drawn != 0)
    indices = 3 * np.arange(count)[:, None] + columns
    weights = np.take_along_axis(
        results - of_noise[:, None] * run.noise, np.maximum(indices, 0), axis=1
    )
    weights[indices < 0] = 0.0
    weights[:, NOISE] = of_noise
    return weights


def _takes_generator(scheduler: Any) -> bool:
    """Whether the class, or one it is built on, asks a generator in its step."""
    return any(
        "generator" in inspect.signature(vars(each)["step"]).parameters
        for each in type(scheduler).__mro__
        if "step" in vars(each)
    )
