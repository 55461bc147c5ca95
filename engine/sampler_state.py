"""Where an image stands in its sampler's steps; many images advance in the same few operations."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch

from engine.sampler_steps import SamplerStep, SamplerSteps
from engine.scheduler_probe import CARRIED, NOISE, OUTPUT, SAMPLE


class SamplerState:
    """One image in one pass.

    Args:
        steps: what its sampler does.
        latents: float32 (1, C, h, w), the sample at the start of the pass.
        generator: the image's own, on the CPU; ancestral noise is drawn from it.

    Attributes:
        steps: as given.
        latents: float32 (1, C, h, w), the sample; may be replaced between two steps. What a
            sampler remembers of earlier forwards stays as it was.
        step_index: forwards done.
    """

    __slots__ = ("_carried", "_generator", "_past", "latents", "step_index", "steps")

    def __init__(
        self, steps: SamplerSteps, latents: torch.Tensor, generator: torch.Generator
    ) -> None:
        self.steps = steps
        self.latents = latents
        self.step_index = 0
        self._generator = generator
        self._carried: torch.Tensor | None = None
        # Sample and output of earlier forwards, the latest first.
        self._past: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=steps.look_back)

    @property
    def is_finished(self) -> bool:
        """Whether every forward of the pass is done."""
        return self.step_index >= len(self.steps.steps)

    @property
    def timestep(self) -> float:
        """What the UNet is told at the next forward."""
        return self._step.timestep

    @property
    def _step(self) -> SamplerStep:
        return self.steps.steps[self.step_index]

    def _draw_noise(self) -> torch.Tensor:
        """Fresh noise if the step draws any; else anything of that shape, for it weighs 0."""
        if not self._step.draws_noise:
            return self.latents
        shape, device = self.latents.shape, self.latents.device
        return torch.randn(shape, generator=self._generator, dtype=torch.float32).to(device)

    def _remembered(self, term: int) -> torch.Tensor:
        """A term of earlier forwards; anything of its shape where there is none, likewise."""
        if term == CARRIED:
            return self.latents if self._carried is None else self._carried
        forwards_ago, which = divmod(term - CARRIED - 1, 2)
        return self._past[forwards_ago][which] if forwards_ago < len(self._past) else self.latents

    def _move_on(
        self, output: torch.Tensor, latents: torch.Tensor, carried: torch.Tensor | None
    ) -> None:
        self._past.appendleft((self.latents, output))
        self._carried = carried if self._step.carries else None
        self.latents = latents
        self.step_index += 1


@torch.inference_mode()
def model_inputs(states: Sequence[SamplerState]) -> torch.Tensor:
    """All samples at the scale the UNet was trained on.

    Args:
        states: L of equal latent shape, none finished.

    Returns:
        float32 (L, C, h, w).
    """
    samples = _joined([state.latents for state in states])
    scales = [state._step.input_scale for state in states]
    if all(scale == scales[0] for scale in scales):
        return samples if scales[0] == 1.0 else samples * scales[0]
    factors = torch.tensor(scales, dtype=torch.float32, device=samples.device)
    return samples * factors[:, None, None, None]


@torch.inference_mode()
def advance(states: Sequence[SamplerState], model_outputs: torch.Tensor) -> None:
    """One step on every image, whatever its sampler and wherever it stands.

    Only products and sums of single elements, in a fixed order: what an image becomes does not
    depend by a bit on the others.

    Args:
        states: L of equal latent shape, none finished.
        model_outputs: float32 (L, C, h, w), guided.
    """
    steps = [state._step for state in states]
    weights = _weights(steps, model_outputs.device)
    noise = [state._draw_noise() for state in states]
    sums = [row[SAMPLE] * _joined([state.latents for state in states]) for row in weights]
    terms = sorted({term for step in steps for term in step.terms} - {SAMPLE, OUTPUT})
    for term in [OUTPUT, *terms]:
        values = model_outputs
        if term != OUTPUT:
            drawn = term == NOISE
            values = _joined(noise if drawn else [state._remembered(term) for state in states])
        for row, total in zip(weights, sums, strict=True):
            total += row[term] * values
    for lane, state in enumerate(states):
        own = [total[lane : lane + 1] for total in sums]
        carried = own[1] if len(own) == 2 else None
        state._move_on(model_outputs[lane : lane + 1], own[0], carried)


def _weights(
    steps: Sequence[SamplerStep], device: torch.device
) -> list[Sequence[float] | torch.Tensor]:
    """By row and term a number where all images are at the same step, else (L, 1, 1, 1).

    Both are float32 when they multiply, so that it makes no difference which.
    """
    rows = 2 if any(step.carries for step in steps) else 1
    if all(step is steps[0] for step in steps):
        return list(steps[0].factors[:rows])
    stacked = torch.stack([step.weights[:rows] for step in steps], dim=-1).to(device)
    return list(stacked[..., None, None, None])


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tuple(tensors))
