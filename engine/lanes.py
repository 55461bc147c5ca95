"""A lane: one image in flight through one denoising pass, with everything only it depends on."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from engine.adapters.rows import AdapterSet
from engine.checkpoint import Checkpoint
from engine.job import Sampler
from engine.plan import PassPlan
from engine.samplers import Scheduler, make_scheduler
from engine.schedule import NoiseSchedule


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What the images of one job share in one pass.

    Attributes:
        prompt_embeds: (1, S, D), S a multiple of 77.
        negative_prompt_embeds: (1, S, D).
        pooled_prompt_embeds: (1, P) for SDXL, else None.
        negative_pooled_prompt_embeds: likewise.
        time_ids: float32 (1, 6) for SDXL, else None: original height and width, top and left of
            the crop, target height and width, in pixels.
        adapters: LoRAs with their weights, for every row of the lane.
        guidance_scale: 1 skips the unconditional row.
        repaint_mask: float32 (1, 1, h, w), 1 where the cell is painted.
        masked_image_latents: float32 (1, C, h, w) for 9-channel checkpoints, else None.
        image_latents: float32 (1, C, h, w); where the pass starts from below strength 1, and what
            kept cells are blended with on 4-channel checkpoints. None where neither is needed.
    """

    prompt_embeds: torch.Tensor
    negative_prompt_embeds: torch.Tensor
    pooled_prompt_embeds: torch.Tensor | None
    negative_pooled_prompt_embeds: torch.Tensor | None
    time_ids: torch.Tensor | None
    adapters: AdapterSet
    guidance_scale: float
    repaint_mask: torch.Tensor
    masked_image_latents: torch.Tensor | None
    image_latents: torch.Tensor | None


@dataclass(slots=True, eq=False)
class Lane:
    """State of one image in one pass.

    Attributes:
        job_id: the job it belongs to.
        image_index: its position there.
        pass_index: which pass of the plan this is.
        checkpoint: what denoises it.
        conditioning: shared with the other images of its job.
        scheduler: its own object: step index and multistep memory live in there.
        generator: its own; draws the starting noise, then ancestral noise.
        noise: float32 (1, C, h, w), the starting noise.
        latents: float32 (1, C, h, w), the sample.
        step_index: steps done in this pass.
    """

    job_id: str
    image_index: int
    pass_index: int
    checkpoint: Checkpoint
    conditioning: Conditioning
    scheduler: Scheduler
    generator: torch.Generator
    noise: torch.Tensor
    latents: torch.Tensor
    step_index: int = field(default=0)

    @property
    def is_finished(self) -> bool:
        """Whether every step of the pass is done."""
        return self.step_index >= len(self.scheduler.timesteps)

    @property
    def latent_area(self) -> int:
        """Cells of the latent, the measure of a forward's size."""
        return self.latents.shape[-2] * self.latents.shape[-1]

    @property
    def group_key(self) -> tuple[object, ...]:
        """Lanes with equal keys may share a UNet forward."""
        return (
            id(self.checkpoint.unet),
            tuple(self.latents.shape[1:]),
            self.conditioning.prompt_embeds.shape[1],
        )


def open_lane(
    *,
    job_id: str,
    image_index: int,
    pass_index: int,
    pass_plan: PassPlan,
    sampler: Sampler,
    noise_schedule: NoiseSchedule,
    checkpoint: Checkpoint,
    conditioning: Conditioning,
    generator: torch.Generator,
    start_latents: torch.Tensor | None = None,
) -> Lane:
    """Draws the lane's noise and sets its sample at the start of the pass.

    At strength 1 the sample is pure noise; below it is the noised `image_latents`, or
    `start_latents` (float32 (1, C, h, w)) where given: the upscaled result of the pass before.
    All noise is drawn on the CPU in float32, so that a seed means the same on every device.
    """
    scheduler = make_scheduler(sampler, noise_schedule, pass_plan.num_steps, pass_plan.schedule)
    mask = conditioning.repaint_mask
    shape = (1, checkpoint.unet.config.out_channels, *mask.shape[-2:])
    noise = torch.randn(shape, generator=generator, dtype=torch.float32).to(mask.device)
    origin = conditioning.image_latents if start_latents is None else start_latents
    if pass_plan.schedule is None:
        latents = noise * scheduler.init_noise_sigma
    else:
        assert origin is not None, "a pass below strength 1 starts from an image"
        latents = scheduler.add_noise(origin, noise, scheduler.timesteps[:1])
    return Lane(
        job_id=job_id,
        image_index=image_index,
        pass_index=pass_index,
        checkpoint=checkpoint,
        conditioning=conditioning,
        scheduler=scheduler,
        generator=generator,
        noise=noise,
        latents=latents,
    )
