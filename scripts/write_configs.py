"""Writes engine/configs/: what a single-file checkpoint does not say about itself.

Every value is a class argument below; nothing is downloaded. The vocabulary comes from OpenAI's
bpe_simple_vocab_16e6.txt.gz (github.com/openai/CLIP, MIT), which the wheel of open_clip_torch
carries: `pip download --no-deps open_clip_torch`, then give its path as the only argument. Without
an argument clip_merges.txt.gz stays as it is.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig

CONFIGS = Path(__file__).resolve().parent.parent / "engine" / "configs"
NUM_CLIP_MERGES = 49152 - 256 - 2  # CLIP uses the first so many of the file's 262144

UNETS: dict[str, dict[str, Any]] = {
    "sd1": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sd2": {
        "sample_size": 96,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
        "upcast_attention": True,
    },
    "sdxl": {
        "sample_size": 128,
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
VAES: dict[str, dict[str, Any]] = {
    "sd1": {"sample_size": 512, "scaling_factor": 0.18215, "force_upcast": False},
    "sd2": {"sample_size": 768, "scaling_factor": 0.18215, "force_upcast": False},
    # Its activations leave float16's range.
    "sdxl": {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
}
CLIP_L = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
}
# OpenCLIP ViT-H without its last layer: SD 2 was trained on the last but one.
OPEN_CLIP_H = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
    "projection_dim": 1024,
}
OPEN_CLIP_BIG_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
    "projection_dim": 1280,
}
CLIP_PAD, OPEN_CLIP_PAD = "<|endoftext|>", "!"
# Family -> (config, padding token) of each text encoder.
TEXT_ENCODERS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "sd1": [(CLIP_L, CLIP_PAD)],
    "sd2": [(OPEN_CLIP_H, OPEN_CLIP_PAD)],
    "sdxl": [(CLIP_L, CLIP_PAD), (OPEN_CLIP_BIG_G, OPEN_CLIP_PAD)],
}


def main() -> None:
    """Writes every family's folder, the tiny VAE and, where given, the merges."""
    for family in UNETS:
        write_family(CONFIGS / family, family)
    with torch.device("meta"):
        write(CONFIGS / "tiny_vae" / "config.json", AutoencoderTiny())  # TAESD, TAESDXL
    if len(sys.argv) > 1:
        text = gzip.decompress(Path(sys.argv[1]).read_bytes()).decode("utf-8")
        merges = text.split("\n")[1 : 1 + NUM_CLIP_MERGES]
        packed = gzip.compress("\n".join(merges).encode("utf-8"), 9, mtime=0)
        (CONFIGS / "clip_merges.txt.gz").write_bytes(packed)


def write_family(folder: Path, family: str) -> None:
    """Writes one diffusers folder without weights."""
    with torch.device("meta"):
        write(folder / "unet" / "config.json", UNet2DConditionModel(**UNETS[family]))
        write(folder / "vae" / "config.json", kl_vae(**VAES[family]))
    for index, (config, pad_token) in enumerate(TEXT_ENCODERS[family]):
        suffix = "" if index == 0 else f"_{index + 1}"
        text_config = CLIPTextConfig(
            vocab_size=49408, bos_token_id=49406, eos_token_id=49407, **config
        )
        text_encoder = "CLIPTextModelWithProjection" if index else "CLIPTextModel"
        content = text_config.to_dict() | {"architectures": [text_encoder]}
        write_json(folder / f"text_encoder{suffix}" / "config.json", content)
        write_json(
            folder / f"tokenizer{suffix}" / "tokenizer_config.json", {"pad_token": pad_token}
        )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    write(folder / "scheduler" / "scheduler_config.json", scheduler)


def kl_vae(**arguments: Any) -> AutoencoderKL:
    """The autoencoder of all three families."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        **arguments,
    )


def write(file: Path, model: Any) -> None:
    """Writes the config of a diffusers object."""
    write_json(file, json.loads(model.to_json_string()))


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Writes sorted JSON without the writing library's version."""
    kept = {
        key: value
        for key, value in content.items()
        if key not in ("_diffusers_version", "transformers_version", "_name_or_path")
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
