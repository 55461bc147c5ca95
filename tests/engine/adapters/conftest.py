"""A small UNet and text encoder in float64: what is compared has no rounding to hide in."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel


@pytest.fixture(scope="package")
def unet() -> UNet2DConditionModel:
    """Every kind of layer: 3x3, 1x1 and strided convolutions, cross-attention, time embedding."""
    torch.manual_seed(5)
    model = UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        cross_attention_dim=24,
        sample_size=8,
    )
    return model.double().eval().requires_grad_(False)


@pytest.fixture(scope="package")
def text_encoder() -> CLIPTextModel:
    torch.manual_seed(6)
    config = CLIPTextConfig(
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=50,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return CLIPTextModel(config).double().eval().requires_grad_(False)
