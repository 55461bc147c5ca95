"""The step loop: one UNet forward for all lanes of a group, then each lane's own sampler step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.adapters.rows import AdapterSet
from engine.lanes import Lane
from engine.samplers import step_arguments


def rows_of(lane: Lane) -> int:
    """Rows of the forward a lane takes: two with guidance, else one."""
    return 1 if lane.conditioning.guidance_scale == 1 else 2


@torch.inference_mode()
def predict(lanes: Sequence[Lane], *, min_rows: int = 0) -> list[torch.Tensor]:
    """Guided model outputs, float32 (1, C, h, w) a lane, from one UNet forward.

    Args:
        lanes: lanes with equal `group_key`, none finished.
        min_rows: pad the forward to at least so many rows (`batch_invariant`): a kernel chosen
            for another row count may round differently.

    Raises:
        torch.OutOfMemoryError: the forward did not fit; no lane was changed.
    """
    checkpoint = lanes[0].checkpoint
    rows = [row for lane in lanes for row in _rows(lane)]
    rows += rows[:1] * (min_rows - len(rows))
    sample = torch.cat([row.sample for row in rows])
    with checkpoint.adapters.unet_rows([row.adapters for row in rows]):
        output = checkpoint.unet(
            sample.to(checkpoint.dtype, memory_format=torch.channels_last),
            torch.stack([row.timestep for row in rows]).to(sample.device, torch.float32),
            encoder_hidden_states=torch.cat([row.prompt_embeds for row in rows]),
            added_cond_kwargs=_added_conditions(rows),
            return_dict=False,
        )[0]
    return _guide(lanes, output.float())


@torch.inference_mode()
def advance(lane: Lane, model_output: torch.Tensor) -> None:
    """One sampler step on the lane's sample, then the kept cells are put back (4 channels)."""
    timesteps = lane.scheduler.timesteps
    lane.latents = lane.scheduler.step(
        model_output,
        timesteps[lane.step_index],
        lane.latents,
        **step_arguments(lane.scheduler, lane.generator),
        return_dict=False,
    )[0]
    lane.step_index += 1
    if not lane.checkpoint.needs_masked_image:
        lane.latents = _blend_kept_cells(lane)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a forward.

    Attributes:
        sample: float32 (1, C, h, w), C channels in all that the UNet takes.
        timestep: no dimensions.
        prompt_embeds: (1, S, D).
        pooled_prompt_embeds: (1, P) for SDXL, else None.
        time_ids: float32 (1, 6) for SDXL, else None.
        adapters: LoRAs with their weights.
    """

    sample: torch.Tensor
    timestep: torch.Tensor
    prompt_embeds: torch.Tensor
    pooled_prompt_embeds: torch.Tensor | None
    time_ids: torch.Tensor | None
    adapters: AdapterSet


def _rows(lane: Lane) -> list[_Row]:
    """The lane's `rows_of` rows, the unconditional one first."""
    timestep = lane.scheduler.timesteps[lane.step_index]
    sample = _unet_input(lane, timestep)
    told = lane.conditioning
    prompts = [(told.prompt_embeds, told.pooled_prompt_embeds)]
    if told.guidance_scale != 1:
        prompts.insert(0, (told.negative_prompt_embeds, told.negative_pooled_prompt_embeds))
    return [
        _Row(sample, timestep, embeds, pooled, told.time_ids, told.adapters)
        for embeds, pooled in prompts
    ]


def _added_conditions(rows: Sequence[_Row]) -> dict[str, torch.Tensor] | None:
    """What an SDXL UNet is told beside timestep and prompt; None for the other families."""
    pooled = [row.pooled_prompt_embeds for row in rows if row.pooled_prompt_embeds is not None]
    time_ids = [row.time_ids for row in rows if row.time_ids is not None]
    if not pooled:
        return None
    return {"text_embeds": torch.cat(pooled), "time_ids": torch.cat(time_ids)}


def _unet_input(lane: Lane, timestep: torch.Tensor) -> torch.Tensor:
    sample: torch.Tensor = lane.scheduler.scale_model_input(lane.latents, timestep)
    if not lane.checkpoint.needs_masked_image:
        return sample
    masked_image_latents = lane.conditioning.masked_image_latents
    assert masked_image_latents is not None, "9-channel checkpoints see the masked image"
    return torch.cat([sample, lane.conditioning.repaint_mask, masked_image_latents], dim=1)


def _guide(lanes: Sequence[Lane], output: torch.Tensor) -> list[torch.Tensor]:
    """Classifier-free guidance (arXiv 2207.12598) on each lane's own rows."""
    guided = []
    row = 0
    for lane in lanes:
        if rows_of(lane) == 1:
            guided.append(output[row : row + 1])
        else:
            unconditional, conditional = output[row : row + 1], output[row + 1 : row + 2]
            scale = lane.conditioning.guidance_scale
            guided.append(unconditional + scale * (conditional - unconditional))
        row += rows_of(lane)
    return guided


def _blend_kept_cells(lane: Lane) -> torch.Tensor:
    """Kept cells take the image's latents, noised to the level of the next step."""
    kept = lane.conditioning.image_latents
    assert kept is not None, "4-channel checkpoints blend with the image"
    if not lane.is_finished:
        next_timestep = lane.scheduler.timesteps[lane.step_index : lane.step_index + 1]
        kept = lane.scheduler.add_noise(kept, lane.noise, next_timestep)
    mask = lane.conditioning.repaint_mask
    return (1 - mask) * kept + mask * lane.latents
