"""Small LoRA files in kohya's layout, for tests that only need one to be there."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

_BLOCK = "down_blocks_1_attentions_0_transformer_blocks_0"  # of every tiny model and real family
CROSS_ATTENTION = f"lora_unet_{_BLOCK}_attn2_to_k"


def write_lora(
    path: Path, *, width: int, out: int = 32, stem: str = CROSS_ATTENTION, seed: int = 0
) -> Path:
    """A rank-2 update of one cross-attention projection, width -> out."""
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
