"""How the steps of a job are taken: what it asks for, its model's defaults, or the few-step way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.few_steps import FewSteps
from engine.job import AnySampler, GenerationJob
from engine.registry import MainModel
from engine.schedule import num_forwards, step_of_forward
from engine.step_spacing import StepSpacing
from engine.sub_models import WeightedLora


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings of the denoising steps, all resolved.

    Attributes:
        num_steps: N, of the whole canvas or its first pass.
        sampler: the algorithm.
        guidance_scale: 1 runs the conditional row alone.
        guidance_cutoff: above 0, at most 1: share of the steps of a pass that are guided.
        step_spacing: None leaves it to the sampler.
        few_steps: what of the above was taken from; None for an ordinary job.
    """

    num_steps: int
    sampler: AnySampler
    guidance_scale: float
    guidance_cutoff: float
    step_spacing: StepSpacing | None
    few_steps: FewSteps | None

    @property
    def loras(self) -> tuple[WeightedLora, ...]:
        """What the steps need beside the LoRAs of the job."""
        if self.few_steps is None or self.few_steps.lora is None:
            return ()
        return (WeightedLora(self.few_steps.lora, self.few_steps.lora.default_weight),)

    def guidance_scales(self, num_steps: int) -> tuple[float, ...]:
        """Of each UNet forward of a pass of so many steps; at least the first step is guided."""
        num_guided = math.ceil(self.guidance_cutoff * num_steps)
        return tuple(
            self.guidance_scale if step_of_forward(self.sampler, forward) < num_guided else 1.0
            for forward in range(num_forwards(self.sampler, num_steps))
        )


def choose_sampling(job: GenerationJob, model: MainModel) -> Sampling:
    """What the job asks for, else what `model` prefers; numbers are not checked here.

    The model's few-step settings belong together: they are used where the job wants no sampler and
    no guidance of its own. Clients that pass an entry of ListModels back name its defaults, which
    is no wish.
    """
    num_steps = model.num_inference_steps
    if job.num_inference_steps is not None:
        num_steps = job.num_inference_steps
    few_steps = model.few_steps
    has_no_wish = job.sampler in (None, model.sampler) and job.guidance_scale in (
        None,
        model.guidance_scale,
    )
    if few_steps is not None and has_no_wish and num_steps <= few_steps.max_steps:
        return Sampling(
            num_steps=num_steps,
            sampler=few_steps.sampler,
            guidance_scale=few_steps.guidance_scale,
            guidance_cutoff=model.guidance_cutoff,
            step_spacing=few_steps.step_spacing,
            few_steps=few_steps,
        )
    return Sampling(
        num_steps=num_steps,
        sampler=model.sampler if job.sampler is None else job.sampler,
        guidance_scale=model.guidance_scale if job.guidance_scale is None else job.guidance_scale,
        guidance_cutoff=model.guidance_cutoff,
        step_spacing=model.step_spacing,
        few_steps=None,
    )
