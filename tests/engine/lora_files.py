"""Small LoRA files, for tests that only need some to be there."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from tests.engine.adapters import lora_writer
from tests.engine.adapters.lora_writer import Kind, modules_of

_BLOCK = "down_blocks_1_attentions_0_transformer_blocks_0"  # of every tiny model and real family
CROSS_ATTENTION = f"lora_unet_{_BLOCK}_attn2_to_k"


def write_lora(
    path: Path, *, width: int, out: int = 32, stem: str = CROSS_ATTENTION, seed: int = 0
) -> Path:
    """A rank-2 update of one cross-attention projection, width -> out, in kohya's layout."""
    generator = torch.Generator().manual_seed(seed)
    save_file(
        {
            f"{stem}.lora_down.weight": torch.randn(2, width, generator=generator),
            f"{stem}.lora_up.weight": torch.randn(out, 2, generator=generator),
            f"{stem}.alpha": torch.tensor(2.0),
        },
        path,
    )
    return path


def write_unet_lora(
    path: Path, model: Path, *, rank: int, seed: int, kind: Kind = lora_writer.lora
) -> Path:
    """An update of ranks 1..`rank` in turn for every layer of the UNet of a diffusers folder."""
    modules = modules_of(UNet2DConditionModel.from_pretrained(model / "unet"))
    weights = {f"unet.{name}": module.weight for name, module in modules.items()}
    lora_writer.write_lora(path, kind, weights, seed=seed, max_rank=rank)
    return path
