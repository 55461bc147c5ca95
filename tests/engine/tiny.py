"""Tiny random-weight models of the real classes, written as diffusers folders."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from engine.registry import PACKAGED_MODELS, Registry, load_registry

EPSILON = {"prediction_type": "epsilon", "timestep_spacing": "leading", "steps_offset": 1}
V_PREDICTION = EPSILON | {"prediction_type": "v_prediction"}  # SD 2.x at 768 pixels
SAMPLE = EPSILON | {"prediction_type": "sample"}
V_ZERO_SNR = {
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
    "steps_offset": 1,
}
TOKENIZER_FOLDER = PACKAGED_MODELS / "embedded" / "tokenizer"


def write_tiny_model(
    folder: Path,
    *,
    in_channels: int,
    scheduler: dict[str, Any],
    family: Literal["sd1", "sd2"] = "sd1",
    kl: bool = False,
    seed: int = 0,
) -> Path:
    """A UNet of two levels, a VAE of factor 8 and a two-layer text encoder, about 1 MB."""
    torch.manual_seed(seed)
    is_sd2 = family == "sd2"
    unet = UNet2DConditionModel(
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=(2, 4) if is_sd2 else 8,
        use_linear_projection=is_sd2,
        cross_attention_dim=32,
        sample_size=8,
    )
    tokenizer = CLIPTokenizer.from_pretrained(
        TOKENIZER_FOLDER, **({"pad_token": "!"} if is_sd2 else {})
    )
    pipeline = StableDiffusionInpaintPipeline(
        vae=_kl_vae() if kl else _tiny_vae(),
        text_encoder=CLIPTextModel(_text_config(tokenizer, hidden_size=32, num_hidden_layers=2)),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=_scheduler(scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return _save(pipeline, folder)


def write_tiny_sdxl(
    folder: Path, *, in_channels: int, scheduler: dict[str, Any], kl: bool = False, seed: int = 0
) -> Path:
    """SDXL in small: two text encoders, pooled embeddings and size ids told to the UNet."""
    torch.manual_seed(seed)
    width, width_2, pooled_width, time_width = 32, 24, 20, 8
    unet = UNet2DConditionModel(
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        norm_num_groups=4,
        attention_head_dim=8,
        cross_attention_dim=width + width_2,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_width,
        projection_class_embeddings_input_dim=6 * time_width + pooled_width,
        sample_size=8,
    )
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER_FOLDER)
    tokenizer_2 = CLIPTokenizer.from_pretrained(TOKENIZER_FOLDER, pad_token="!")
    config = _text_config(tokenizer, hidden_size=width, num_hidden_layers=3)
    config_2 = _text_config(
        tokenizer_2, hidden_size=width_2, num_hidden_layers=4, projection_dim=pooled_width
    )
    pipeline = StableDiffusionXLInpaintPipeline(
        vae=_kl_vae() if kl else _tiny_vae(),
        text_encoder=CLIPTextModel(config),
        text_encoder_2=CLIPTextModelWithProjection(config_2),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet,
        scheduler=_scheduler(scheduler),
        add_watermarker=False,
    )
    return _save(pipeline, folder)


def write_registry(folder: Path, **models: dict[str, Any]) -> Registry:
    """A models.yaml beside the model folders; keyword name = folder name = model name."""
    entries = [
        {"name": name, "path": name, "family": "sd1", "native_size_px": 512, "min_area_ratio": 0}
        | fields
        for name, fields in models.items()
    ]
    file = folder / "models.yaml"
    file.write_text(yaml.safe_dump({"default_model": next(iter(models)), "models": entries}))
    return load_registry(file)


def _save(pipeline: DiffusionPipeline, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _scheduler(settings: dict[str, Any]) -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        **settings,
    )


def _text_config(tokenizer: CLIPTokenizer, **sizes: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        **sizes,
        intermediate_size=64,
        num_attention_heads=4,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


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
