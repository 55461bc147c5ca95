"""Weights read off a scheduler object do what the object does, for many images at once."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, LMSDiscreteScheduler

from engine.job import AnySampler, DistilledSampler, Sampler
from engine.sampler_state import SamplerState, advance, model_inputs
from engine.sampler_steps import SamplerSteps, read_steps, sampler_steps
from engine.samplers import make_scheduler
from engine.schedule import NoiseSchedule, partial_schedule, read_noise_schedule

SAMPLERS = [*Sampler, *DistilledSampler]
SHAPE = (1, 4, 6, 5)
EPSILON = {"prediction_type": "epsilon", "timestep_spacing": "leading", "steps_offset": 1}
VELOCITY = {"prediction_type": "v_prediction", "timestep_spacing": "linspace"}
ZERO_SNR = {
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
}
CLEAN_SAMPLE = {"prediction_type": "sample", "timestep_spacing": "trailing"}


@pytest.mark.parametrize("num_steps", [1, 7, 16])
@pytest.mark.parametrize("strength", [None, 0.1])
@pytest.mark.parametrize("config", [EPSILON, VELOCITY, ZERO_SNR, CLEAN_SAMPLE])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_step_is_the_one_of_the_scheduler_object(
    sampler: AnySampler, config: dict[str, Any], strength: float | None, num_steps: int
) -> None:
    """Any sample, as if something had been blended into it, and any model output at each step."""
    arguments = _pass(sampler, config, strength, num_steps)
    scheduler, steps = make_scheduler(*arguments), sampler_steps(*arguments)
    assert steps.timesteps == tuple(float(timestep) for timestep in scheduler.timesteps)
    assert steps.init_noise_sigma == scheduler.init_noise_sigma
    theirs, ours, values = (torch.Generator().manual_seed(seed) for seed in (3, 3, 4))
    state = SamplerState(steps, torch.zeros(SHAPE), ours)
    noise_arguments = {"generator": theirs} if _takes_generator(sampler, scheduler) else {}
    image, noise = _random(values), _random(values)
    for index, timestep in enumerate(scheduler.timesteps):
        noised = scheduler.add_noise(image, noise, scheduler.timesteps[index : index + 1])
        torch.testing.assert_close(steps.noised(image, noise, index), noised)
        state.latents = noised + 0.1 * _random(values)
        model_input = scheduler.scale_model_input(state.latents, timestep)
        torch.testing.assert_close(model_inputs([state]), model_input)
        assert state.timestep == timestep
        output = _random(values)
        expected = scheduler.step(
            output, timestep, state.latents, **noise_arguments, return_dict=False
        )[0]
        # The object's own rounding grows with the sample, which may start at 4096.
        scale = max(1.0, float(state.latents.abs().max()), float(expected.abs().max()))
        advance([state], output)
        torch.testing.assert_close(state.latents, expected, rtol=0, atol=2e-6 * scale)
        assert torch.equal(ours.get_state(), theirs.get_state())
    assert state.is_finished
    assert steps.noised(image, noise, len(steps.timesteps)) is image


def test_images_do_not_depend_on_their_neighbours_by_a_bit() -> None:
    """All samplers at once, each image one step further than the one before."""
    alone, together = _mixed_states(), _mixed_states()
    running = list(zip(alone, together, strict=True))
    while running:
        inputs = model_inputs([state for _, state in running])
        outputs = torch.tanh(inputs)
        for (state, _), model_input, output in zip(running, inputs, outputs, strict=True):
            assert torch.equal(model_inputs([state])[0], model_input)
            advance([state], output[None])
        advance([state for _, state in running], outputs)
        for state, other in running:
            assert torch.equal(state.latents, other.latents)
        running = [pair for pair in running if not pair[0].is_finished]


def test_a_sampler_remembers_no_more_than_it_needs() -> None:
    look_back = {
        sampler: sampler_steps(*_pass(sampler, EPSILON, None, 9)).look_back for sampler in SAMPLERS
    }
    assert look_back == dict.fromkeys(SAMPLERS, 0) | {
        Sampler.DPMPP_2M: 1,
        Sampler.DPMPP_2M_KARRAS: 1,
        Sampler.HEUN: 1,
        Sampler.UNIPC: 2,
        Sampler.LMS: 3,
    }


@pytest.mark.parametrize("sampler", [Sampler.EULER, Sampler.EULER_ANCESTRAL, Sampler.LMS])
def test_a_step_down_from_sigma_4096_rounds_like_its_result(sampler: Sampler) -> None:
    """Not like its start, as in the scheduler objects: there it costs 5e-4."""
    steps = sampler_steps(*_pass(sampler, ZERO_SNR, None, 1))
    assert steps.init_noise_sigma > 4000
    generator = torch.Generator().manual_seed(5)
    image, noise = _random(generator), _random(generator)
    state = SamplerState(steps, image + noise * steps.init_noise_sigma, generator)
    alpha_bar = 1 / (torch.tensor(steps.init_noise_sigma) ** 2 + 1)
    velocity = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * image
    advance([state], velocity)
    torch.testing.assert_close(state.latents, image, rtol=0, atol=2e-6)


def test_equal_passes_share_their_steps() -> None:
    first = sampler_steps(*_pass(Sampler.UNIPC, EPSILON, 0.4, 8))
    assert sampler_steps(*_pass(Sampler.UNIPC, EPSILON, 0.4, 8)) is first
    assert sampler_steps(*_pass(Sampler.UNIPC, EPSILON, 0.4, 9)) is not first


def test_a_scheduler_that_limits_values_is_refused() -> None:
    scheduler = DDIMScheduler(clip_sample=True)
    scheduler.set_timesteps(6)
    with pytest.raises(ValueError, match="DDIMScheduler: step 0 is no weighted sum"):
        read_steps(scheduler)


def test_a_scheduler_that_looks_back_too_far_is_refused() -> None:
    class LongLMS(LMSDiscreteScheduler):  # type: ignore[misc]  # untyped
        def step(self, *arguments: Any, **keywords: Any) -> Any:
            return super().step(*arguments, order=5, **keywords)

    scheduler = LongLMS()
    scheduler.set_timesteps(6)
    with pytest.raises(ValueError, match="step 4 is no weighted sum"):
        read_steps(scheduler)


def _pass(
    sampler: AnySampler, config: dict[str, Any], strength: float | None, num_steps: int
) -> tuple[AnySampler, NoiseSchedule, int, Any]:
    schedule = read_noise_schedule(
        {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", **config}
    )
    steps = None
    if strength is not None:
        steps = partial_schedule(schedule, strength, num_steps, sampler)
    return sampler, schedule, num_steps, steps


def _mixed_states() -> list[SamplerState]:
    """An image a sampler, under way by different numbers of steps."""
    states = []
    for index, sampler in enumerate(SAMPLERS):
        steps: SamplerSteps = sampler_steps(*_pass(sampler, EPSILON, 0.9, 6 + index))
        generator = torch.Generator().manual_seed(index)
        states.append(SamplerState(steps, _random(generator), generator))
        for _ in range(index):
            advance(states[-1:], torch.tanh(model_inputs(states[-1:])))
    return states


def _takes_generator(sampler: AnySampler, scheduler: Any) -> bool:
    """diffusers' own test of it is blind to a subclass that passes arguments on."""
    signature = inspect.signature(scheduler.step)
    return sampler is Sampler.EULER_ANCESTRAL or "generator" in signature.parameters


def _random(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(SHAPE, generator=generator)
