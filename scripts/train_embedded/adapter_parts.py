"""The finished model as the sub-models' training needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from scripts.train_embedded.unet_model import noise_schedule


@dataclass(frozen=True, slots=True, eq=False)
class BasePart:
    """A loaded model in float32, frozen."""

    unet: UNet2DConditionModel
    vae: AutoencoderTiny
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    schedule: DDIMScheduler

    def encode(self, captions: list[str]) -> torch.Tensor:
        """B prompts -> (B, 77, D)."""
        tokens = self.tokenizer(
            captions, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        hidden: torch.Tensor = self.text_encoder(tokens).last_hidden_state
        return hidden


def load_base(folder: Path) -> BasePart:
    """The model of an exported folder."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").float()
    parts = BasePart(
        unet=unet.to(memory_format=torch.channels_last),
        vae=AutoencoderTiny.from_pretrained(folder / "vae").float().eval(),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder").float().eval(),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        schedule=noise_schedule(),
    )
    for module in (parts.unet, parts.vae, parts.text_encoder):
        module.requires_grad_(False)
    return parts
