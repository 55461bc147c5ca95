"""The denoiser, its text encoder and its noise schedule."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

TEXT_WIDTH = 192

# in_channels: block widths. 9 is the inpainting model, 4 its smaller ordinary sibling.
WIDTHS: dict[int, tuple[int, ...]] = {9: (64, 128, 256), 4: (48, 96, 160)}
_HEAD_WIDTH = 32


def new_unet(in_channels: int) -> UNet2DConditionModel:
    """A U-Net of three levels with attention on the lower two, where it is cheap."""
    widths = WIDTHS[in_channels]
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=widths,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        # A misnomer kept by diffusers for its first models: the number of heads of each level.
        attention_head_dim=tuple(max(1, width // _HEAD_WIDTH) for width in widths),
        norm_num_groups=16,
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A CLIP text encoder of three layers for that vocabulary."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=512,
            num_hidden_layers=3,
            num_attention_heads=6,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            projection_dim=TEXT_WIDTH,
        )
    )


def noise_schedule() -> DDIMScheduler:
    """Scaled-linear betas rescaled to zero terminal SNR, v-prediction (arXiv 2305.08891)."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def start_from(
    folder: Path, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer
) -> None:
    """Takes over an earlier model of the same shape; tokens keep their vectors by their text."""
    unet.load_state_dict(UNet2DConditionModel.from_pretrained(folder / "unet").state_dict())
    old_tokens = CLIPTokenizer.from_pretrained(folder / "tokenizer").get_vocab()
    old = CLIPTextModel.from_pretrained(folder / "text_encoder").float().state_dict()
    new = text_encoder.state_dict()
    with torch.no_grad():
        for name, weight in new.items():
            if name.endswith("token_embedding.weight"):
                for token, index in tokenizer.get_vocab().items():
                    if token in old_tokens:
                        weight[index] = old[name][old_tokens[token]]
            elif weight.is_floating_point():
                weight.copy_(old[name])
