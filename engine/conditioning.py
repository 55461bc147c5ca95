"""What the images of one job share in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.adapters.rows import AdapterSet


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """Everything a pass tells the UNet, at the size of the whole pass.

    Attributes:
        prompt_embeds: (1, S, D), S a multiple of 77.
        negative_prompt_embeds: (1, S, D).
        pooled_prompt_embeds: (1, P) for SDXL, else None.
        negative_pooled_prompt_embeds: likewise.
        time_ids: float32 (1, 6) for SDXL, else None: original height and width, top and left of
            the crop, target height and width, in pixels.
        adapters: LoRAs with their weights, for every row of the lane.
        repaint_mask: float32 (1, 1, h, w), 1 where the cell is painted.
        masked_image_latents: float32 (1, C, h, w) for 9-channel checkpoints, else None.
        image_latents: float32 (1, C, h, w); where the pass starts from below strength 1, and what
            kept cells are blended with on 4-channel checkpoints. None where neither is needed.
        reference_latents: float32 (1, C, h, w), the reference alone, which DeepFusion reads; None
            without it.
        blank_latents: float32 (1, C, h, w), the masked image where nothing is kept, for DeepFusion
            on 9-channel checkpoints; else None.
    """

    prompt_embeds: torch.Tensor
    negative_prompt_embeds: torch.Tensor
    pooled_prompt_embeds: torch.Tensor | None
    negative_pooled_prompt_embeds: torch.Tensor | None
    time_ids: torch.Tensor | None
    adapters: AdapterSet
    repaint_mask: torch.Tensor
    masked_image_latents: torch.Tensor | None
    image_latents: torch.Tensor | None
    reference_latents: torch.Tensor | None
    blank_latents: torch.Tensor | None
