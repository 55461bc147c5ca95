"""Single-file checkpoints with every key of the real ones and a fraction of their width.

The weights come from the original networks' own modules; a diffusers folder with the same weights
is made by diffusers' converters (UNet, VAE) and by the few lines below (text encoders).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.checkpoint_info import CONFIGS
from engine.clip_tokenizer import clip_tokenizer
from tests.engine import original_modules as original

UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT = {
    "sd1": ("cond_stage_model.transformer.",),
    "sd2": ("cond_stage_model.model.",),
    "sdxl": ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
}
ENCODERS = ("text_encoder", "text_encoder_2")
CONTEXT = {"sd1": 32, "sd2": 32, "sdxl": 64}
TEXT_LAYERS = {"sd1": (12,), "sd2": (24,), "sdxl": (12, 32)}
VECTOR = 32 + 6 * 8  # pooled embedding and six size numbers of eight channels each


def networks(family: str, in_channels: int, seed: int = 0) -> dict[str, nn.Module]:
    """The original networks, by the prefix of their keys, with random weights."""
    torch.manual_seed(seed)
    multiples, depths = (
        ((1, 2, 4, 4), (1, 1, 1, 0)) if family != "sdxl" else ((1, 2, 4), (0, 2, 10))
    )
    modules: dict[str, nn.Module] = {
        UNET: original.unet(
            in_channels=in_channels,
            width=16,
            multiples=multiples,
            depths=depths,
            context=CONTEXT[family],
            linear=family != "sd1",
            vector=VECTOR if family == "sdxl" else None,
        ),
        VAE: original.vae(8),
    }
    for prefix, layers in zip(TEXT[family], TEXT_LAYERS[family], strict=True):
        modules[prefix] = (
            original.clip_text(32, layers)
            if prefix.endswith("transformer.")
            else original.OpenClipText(32, layers, heads=4)
        )
    return modules


def tensors_of(modules: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    """The file's tensors."""
    return {
        prefix + name: tensor.contiguous()
        for prefix, module in modules.items()
        for name, tensor in module.state_dict().items()
    }


def write_configs(folder: Path, family: str, in_channels: int, **scheduler: Any) -> Path:
    """The family's configs, narrowed to fit `networks`."""
    shutil.copytree(CONFIGS / family, folder)
    levels = 3 if family == "sdxl" else 4
    heads = 8 if family == "sd1" else [1, 2, 4, 4][:levels]
    narrow(
        folder / "unet" / "config.json",
        in_channels=in_channels,
        block_out_channels=[16, 32, 64, 64][:levels],
        attention_head_dim=heads,
        cross_attention_dim=CONTEXT[family],
        norm_num_groups=4,
        **(
            {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": VECTOR}
            if family == "sdxl"
            else {}
        ),
    )
    narrow(folder / "vae" / "config.json", block_out_channels=[8, 16, 32, 32], norm_num_groups=4)
    for name in ENCODERS[: len(TEXT[family])]:
        file = folder / name / "config.json"
        narrow(
            file, hidden_size=32, intermediate_size=128, num_attention_heads=4, projection_dim=32
        )
    narrow(folder / "scheduler" / "scheduler_config.json", **scheduler)
    return folder


def narrow(file: Path, **values: Any) -> None:
    """Overwrites keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def write_folder(folder: Path, file: Path, family: str, in_channels: int, **scheduler: Any) -> Path:
    """A diffusers folder with the weights of `file`, converted without the engine."""
    write_configs(folder, family, in_channels, **scheduler)
    arguments: dict[str, Any] = {"config": str(folder), "local_files_only": True}
    for name, model_class in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        model = model_class.from_single_file(str(file), subfolder=name, **arguments)
        model.save_pretrained(folder / name)
    tensors = tensors_of(networks(family, in_channels))
    for index, prefix in enumerate(TEXT[family]):
        name = ENCODERS[index]
        config = CLIPTextConfig.from_json_file(folder / name / "config.json")
        encoder = (CLIPTextModelWithProjection if index else CLIPTextModel)(config)
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        clip = own if prefix.endswith("transformer.") else clip_from_open_clip(own)
        wanted = encoder.state_dict()
        bare = {key.removeprefix("text_model."): value for key, value in clip.items()}
        encoder.load_state_dict({key: bare[key.removeprefix("text_model.")] for key in wanted})
        encoder.save_pretrained(folder / name)
        pad_token = "<|endoftext|>" if prefix.endswith("transformer.") else "!"
        tokenizer_folder = folder / name.replace("text_encoder", "tokenizer")
        clip_tokenizer(pad_token).save_pretrained(tokenizer_folder)
    (folder / "model_index.json").write_text("{}")
    return folder


def clip_from_open_clip(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """OpenCLIP's tensors under CLIP's names."""
    clip = {
        "embeddings.token_embedding.weight": tensors["token_embedding.weight"],
        "embeddings.position_embedding.weight": tensors["positional_embedding"],
        "text_projection.weight": tensors["text_projection"].T.contiguous(),
    }
    for part in ("weight", "bias"):
        clip[f"final_layer_norm.{part}"] = tensors[f"ln_final.{part}"]
        layer = 0
        while (start := f"transformer.resblocks.{layer}.") + f"ln_1.{part}" in tensors:
            to = f"encoder.layers.{layer}."
            stacked = tensors[f"{start}attn.in_proj_{part}"]
            width = len(stacked) // 3
            for index, name in enumerate("qkv"):
                rows = stacked[index * width : (index + 1) * width]
                clip[f"{to}self_attn.{name}_proj.{part}"] = rows.clone()
            clip[f"{to}self_attn.out_proj.{part}"] = tensors[f"{start}attn.out_proj.{part}"]
            clip[f"{to}layer_norm1.{part}"] = tensors[f"{start}ln_1.{part}"]
            clip[f"{to}layer_norm2.{part}"] = tensors[f"{start}ln_2.{part}"]
            clip[f"{to}mlp.fc1.{part}"] = tensors[f"{start}mlp.c_fc.{part}"]
            clip[f"{to}mlp.fc2.{part}"] = tensors[f"{start}mlp.c_proj.{part}"]
            layer += 1
    return clip


def save(tensors: dict[str, torch.Tensor], file: Path, **metadata: str) -> Path:
    """Writes a safetensors file; metadata keys lose a leading "modelspec_"."""
    spelled = {key.replace("modelspec_", "modelspec."): value for key, value in metadata.items()}
    save_file(tensors, file, metadata=spelled or None)
    return file
