"""Models to measure on: random weights of the real classes, written as diffusers folders.

The weights are random, so the pictures are noise; what a forward costs does not depend on them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    EulerDiscreteScheduler,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from engine.checkpoint_info import CONFIGS
from engine.clip_tokenizer import clip_tokenizer
from engine.model_paths import PACKAGED_MODELS

TOKENIZER_FOLDER = PACKAGED_MODELS / "embedded" / "tokenizer"
MODEL_NAME = "PICPIK General"
MODELS_FILE = "models.yaml"


@dataclass(frozen=True, slots=True)
class Shape:
    """A model and the canvas it is measured at.

    Attributes:
        name: T, M, F, or STUB.
        title: what it stands for.
        canvas_px: side of the square canvas.
        num_steps: of a request.
        native_size_px: as models.yaml tells it.
        unet: config of the UNet; empty for the published Stable Diffusion 1.5.
        vae: config of an AutoencoderKL; empty for a minimal AutoencoderTiny.
        text: width and layers of the text encoder.
    """

    name: str
    title: str
    canvas_px: int
    num_steps: int
    native_size_px: int
    unet: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, int]

    @property
    def latent_px(self) -> int:
        """Side of the latent."""
        return self.canvas_px // 8

    def at(self, canvas_px: int) -> Shape:
        """The same model on another canvas."""
        return replace(self, canvas_px=canvas_px)


_SMALL_TEXT = {"hidden_size": 64, "num_hidden_layers": 2}
_WITH_ATTENTION = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}

SHAPES = {
    shape.name: shape
    for shape in (
        Shape(
            "T",
            "tiny: a forward is nothing but dispatch",
            canvas_px=64,
            num_steps=10,
            native_size_px=512,
            unet=_WITH_ATTENTION
            | {
                "block_out_channels": (16, 32),
                "layers_per_block": 1,
                "norm_num_groups": 4,
                "attention_head_dim": 8,
            },
            vae={},
            text=_SMALL_TEXT,
        ),
        Shape(
            "M",
            "middle: 50 to 150 ms a guided step on two cores",
            canvas_px=256,
            num_steps=10,
            native_size_px=512,
            unet={
                "block_out_channels": (48, 96, 192),
                "down_block_types": ("CrossAttnDownBlock2D",) * 2 + ("DownBlock2D",),
                "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 2,
                "layers_per_block": 2,
                "norm_num_groups": 16,
                "attention_head_dim": 8,
            },
            vae={"block_out_channels": (32, 32, 64, 64), "layers_per_block": 1},
            text={"hidden_size": 256, "num_hidden_layers": 4},
        ),
        Shape(
            "F",
            "full: Stable Diffusion 1.5",
            canvas_px=256,
            num_steps=6,
            native_size_px=512,
            unet={},
            vae={},
            text={},
        ),
        Shape(
            "STUB",
            "next to nothing: what is left is the work around the model",
            canvas_px=2560,
            num_steps=6,
            native_size_px=512,
            unet={
                "down_block_types": ("DownBlock2D",),
                "up_block_types": ("UpBlock2D",),
                "mid_block_type": None,
                "block_out_channels": (4,),
                "layers_per_block": 1,
                "norm_num_groups": 2,
                "attention_head_dim": 4,
            },
            vae={},
            text=_SMALL_TEXT,
        ),
    )
}


def write_shape(shape: Shape, folder: Path) -> Path:
    """Writes the model with a models.yaml beside it; the model's folder."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    model = folder / "model"
    if shape.unet:
        _write_small(shape, model)
    else:
        _write_full(model)
    entry = {
        "name": MODEL_NAME,
        "path": "model",
        "family": "sd1",
        "native_size_px": shape.native_size_px,
        "min_area_ratio": 0,
        "num_inference_steps": shape.num_steps,
    }
    models = {"default_model": MODEL_NAME, "models": [entry]}
    (folder / MODELS_FILE).write_text(yaml.safe_dump(models))
    return model


def _write_small(shape: Shape, folder: Path) -> None:
    unet = UNet2DConditionModel(
        in_channels=9,
        out_channels=4,
        cross_attention_dim=shape.text["hidden_size"],
        sample_size=shape.latent_px,
        **shape.unet,
    )
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER_FOLDER)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            **shape.text,
            intermediate_size=4 * shape.text["hidden_size"],
            num_attention_heads=4,
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    _save(folder, unet, _kl_vae(shape) if shape.vae else _minimal_vae(), text_encoder, tokenizer)


def _write_full(folder: Path) -> None:
    """Stable Diffusion 1.5 for inpainting at its published sizes, in float16."""
    configs = CONFIGS / "sd1"
    parts = {}
    for name, made in (
        ("unet", lambda config: UNet2DConditionModel.from_config(config, in_channels=9)),
        ("vae", AutoencoderKL.from_config),
        ("text_encoder", lambda config: CLIPTextModel(CLIPTextConfig.from_dict(config))),
    ):
        config = json.loads((configs / name / "config.json").read_text())
        parts[name] = made(config).to(torch.float16)
    tokenizer = clip_tokenizer("<|endoftext|>")
    _save(folder, parts["unet"], parts["vae"], parts["text_encoder"], tokenizer)


def _save(folder: Path, unet: Any, vae: Any, text_encoder: Any, tokenizer: Any) -> None:
    StableDiffusionInpaintPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)


def _minimal_vae() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(4, 4, 4, 4),
        decoder_block_out_channels=(4, 4, 4, 4),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )


def _kl_vae(shape: Shape) -> AutoencoderKL:
    return AutoencoderKL(
        **shape.vae,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=32,
        latent_channels=4,
        sample_size=shape.canvas_px,
    )
