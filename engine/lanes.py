"""A lane: one image in flight through one denoising pass, with everything only it depends on."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import torch

from engine.checkpoint import Checkpoint
from engine.conditioning import Conditioning
from engine.plan import PassPlan
from engine.prepare import PreparedJob
from engine.reference import reference_noise
from engine.sampler_state import SamplerState
from engine.tiles import Tile, blend, blending_weights, cover
from engine.upscale import upscale_latents


@dataclass(slots=True, eq=False)
class Lane:
    """State of one image in one pass.

    Attributes:
        prepared: the job it belongs to.
        image_index: its position there.
        pass_index: which pass of the plan this is.
        state: its sample and how far it is.
        generator: its own; draws the starting noise of every pass, then ancestral noise.
        noise: float32 (1, C, h, w), the starting noise.
        reference_noise: float32 (1, C, h, w), that on the reference it reads (DeepFusion); None
            where it reads none.
        tiles: what the UNet sees of the canvas at a time, all of one size.
        outputs: of this step's forwards so far, float32 (1, C, height, width) by tile.
    """

    prepared: PreparedJob
    image_index: int
    pass_index: int
    state: SamplerState
    generator: torch.Generator
    noise: torch.Tensor
    reference_noise: torch.Tensor | None
    tiles: tuple[Tile, ...]
    outputs: dict[Tile, torch.Tensor] = field(default_factory=dict)

    @property
    def job_id(self) -> str:
        """Of its job."""
        return self.prepared.plan.job.job_id

    @property
    def checkpoint(self) -> Checkpoint:
        """What denoises it."""
        return self.prepared.checkpoint

    @property
    def conditioning(self) -> Conditioning:
        """What it shares with the other images of its job."""
        return self.prepared.conditionings[self.pass_index]

    @property
    def guidance_scale(self) -> float:
        """Of the next forward; 1 skips the unconditional row."""
        return self.prepared.plan.passes[self.pass_index].guidance_scales[self.state.step_index]

    @property
    def steps_done(self) -> tuple[int, int]:
        """UNet forwards so far, and how many it takes, over all passes."""
        plan = self.prepared.plan
        before = sum(each.num_forwards for each in plan.passes[: self.pass_index])
        return before + self.state.step_index, plan.total_steps

    @property
    def open_tiles(self) -> list[Tile]:
        """Those without an output in this step."""
        return [tile for tile in self.tiles if tile not in self.outputs]

    @property
    def tile_area(self) -> int:
        """Latent cells of a tile, the measure of a forward's size."""
        return self.tiles[0].height * self.tiles[0].width

    @property
    def group_key(self) -> Hashable:
        """Pieces of lanes with equal keys may share a UNet forward."""
        tile = self.tiles[0]
        prompt_length = self.conditioning.prompt_embeds.shape[1]
        return id(self.checkpoint.unet), tile.height, tile.width, prompt_length

    def model_output(self) -> torch.Tensor:
        """The outputs of all tiles as one, float32 (1, C, h, w)."""
        outputs = [self.outputs[tile] for tile in self.tiles]
        return blend(self.tiles, outputs, blending_weights(self.tiles, outputs[0].device))

    def take_model_output(self) -> torch.Tensor:
        """The same; the next step starts without."""
        output = self.model_output()
        self.outputs.clear()
        return output


@dataclass(frozen=True, slots=True)
class Piece:
    """What one forward does for a lane: one of its tiles."""

    lane: Lane
    tile: Tile


def open_lane(
    prepared: PreparedJob,
    image_index: int,
    pass_index: int = 0,
    *,
    generator: torch.Generator | None = None,
    start_latents: torch.Tensor | None = None,
) -> Lane:
    """Draws the lane's noise and sets its sample at the start of the pass.

    At strength 1 the sample is pure noise; below it is the noised `image_latents`, or
    `start_latents`. All noise is drawn on the CPU in float32, so that a seed means the same on
    every device.

    Args:
        prepared: the job.
        image_index: which of its images.
        pass_index: which pass.
        generator: of the image, over all passes; None makes the one of the image's seed.
        start_latents: float32 (1, C, h, w), the upscaled result of the pass before.
    """
    plan, checkpoint = prepared.plan, prepared.checkpoint
    conditioning = prepared.conditionings[pass_index]
    pass_plan = plan.passes[pass_index]
    if generator is None:
        generator = torch.Generator("cpu").manual_seed(plan.seeds[image_index])
    steps = prepared.steps[pass_index]
    mask = conditioning.repaint_mask
    shape = (1, int(checkpoint.unet.config.out_channels), *mask.shape[-2:])
    noise = torch.randn(shape, generator=generator, dtype=torch.float32).to(mask.device)
    origin = conditioning.image_latents if start_latents is None else start_latents
    if pass_plan.strength == 1.0:
        latents = noise * steps.init_noise_sigma
    else:
        assert origin is not None, "a pass below strength 1 starts from an image"
        latents = steps.noised(origin, noise, 0)
    return Lane(
        prepared=prepared,
        image_index=image_index,
        pass_index=pass_index,
        state=SamplerState(steps, latents, generator),
        generator=generator,
        noise=noise,
        reference_noise=_reference_noise(prepared, image_index, conditioning),
        tiles=_tiles(pass_plan, *mask.shape[-2:], factor=prepared.vae.factor),
    )


def next_lane(lane: Lane) -> Lane:
    """The image in its next pass, which starts from what this one made.

    Raises:
        NonFiniteResult: that is not finite.
    """
    pass_index = lane.pass_index + 1
    height, width = lane.prepared.conditionings[pass_index].repaint_mask.shape[-2:]
    return open_lane(
        lane.prepared,
        lane.image_index,
        pass_index,
        generator=lane.generator,
        start_latents=upscale_latents(lane.state.latents, height, width),
    )


def _reference_noise(
    prepared: PreparedJob, image_index: int, conditioning: Conditioning
) -> torch.Tensor | None:
    latents = conditioning.reference_latents
    if latents is None:
        return None
    return reference_noise(prepared.plan.seeds[image_index], latents.shape).to(latents.device)


def _tiles(pass_plan: PassPlan, height: int, width: int, *, factor: int) -> tuple[Tile, ...]:
    if pass_plan.tile_px is None:
        return cover(height, width, height, width)
    tile_width, tile_height = (side // factor for side in pass_plan.tile_px)
    return cover(height, width, tile_height, tile_width)
