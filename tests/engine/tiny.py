"""Tiny random-weight models of the real classes, written as diffusers folders."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from engine.registry import PACKAGED_MODELS, Registry, load_registry

EPSILON = {"prediction_type": "epsilon", "timestep_spacing": "leading", "steps_offset": 1}
V_ZERO_SNR = {
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
    "steps_offset": 1,
}


def write_tiny_model(
    folder: Path, *, in_channels: int, scheduler: dict[str, Any], kl: bool = False, seed: int = 0
) -> Path:
    """A UNet of two levels, a VAE of factor 8 and a two-layer text encoder, about 1 MB."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        sample_size=8,
    )
    tokenizer = CLIPTokenizer.from_pretrained(PACKAGED_MODELS / "embedded" / "tokenizer")
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    pipeline = StableDiffusionInpaintPipeline(
        vae=_kl_vae() if kl else _tiny_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            **scheduler,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def write_registry(folder: Path, **models: dict[str, Any]) -> Registry:
    """A models.yaml beside the model folders; keyword name = folder name = model name."""
    entries = [
        {"name": name, "path": name, "family": "sd1", "native_size_px": 512} | fields
        for name, fields in models.items()
    ]
    file = folder / "models.yaml"
    file.write_text(yaml.safe_dump({"default_model": next(iter(models)), "models": entries}))
    return load_registry(file)


def _tiny_vae() -> AutoencoderTiny:
    channels = (8, 8, 8, 8)
    return AutoencoderTiny(
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
        scaling_factor=1.5,
    )


def _kl_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
    )
