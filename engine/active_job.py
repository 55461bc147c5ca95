"""What the engine keeps of a job while its images are in flight."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.checkpoint import Checkpoint
from engine.lanes import Conditioning
from engine.plan import GenerationPlan
from engine.prepare import Canvas, JobAdapters, prepare_conditioning
from engine.prompt import PromptEmbeds
from engine.vae import LatentCodec


@dataclass(slots=True)
class ActiveJob:
    """A job whose images are in flight; conditionings are made when their pass begins."""

    plan: GenerationPlan
    canvas: Canvas
    checkpoint: Checkpoint
    vae: LatentCodec
    adapters: JobAdapters
    prompt_embeds: PromptEmbeds
    open_images: set[int]
    conditionings: dict[int, Conditioning] = field(default_factory=dict)

    def conditioning(self, pass_index: int) -> Conditioning:
        """What the job's images share in that pass."""
        if pass_index not in self.conditionings:
            self.conditionings[pass_index] = prepare_conditioning(
                self.plan,
                self.plan.passes[pass_index],
                self.canvas,
                self.prompt_embeds,
                self.checkpoint,
                self.vae,
                self.adapters.weighted,
            )
        return self.conditionings[pass_index]
