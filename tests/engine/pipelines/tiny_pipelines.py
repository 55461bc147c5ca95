"""Tiny random-weight pipelines of the real classes, written as diffusers folders.

Every layer has the shape of the real thing with few channels; tokenizers know the bytes of UTF-8 or
some hundred letters. No file of any published model is needed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from engine.registry import Registry, load_registry
from tests.engine.tiny import TOKENIZER_FOLDER

WIDTH = 32  # of every text encoder and denoiser
LATENT_CHANNELS = 16
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tiny_pipeline(folder: Path, kind: str, seed: int = 0) -> Path:
    """Writes one of `KINDS`, well below 1 MB."""
    torch.manual_seed(seed)
    shutil.rmtree(folder, ignore_errors=True)
    KINDS[kind]().save_pretrained(folder, safe_serialization=True)
    return folder


def write_pipeline_registry(
    folder: Path, kinds: dict[str, str] | None = None, **models: dict[str, Any]
) -> Registry:
    """A models.yaml beside the model folders; keyword name = folder name = model name.

    Every safetensors file there is a sub-model of its own name, a LoRA unless `kinds` says else.
    """
    sub_models = [
        {"name": file.stem, "kind": (kinds or {}).get(file.stem, "lora"), "path": file.name}
        for file in sorted(folder.glob("*.safetensors"))
    ]
    entries = [
        {
            "name": name,
            "path": name,
            "native_size_px": 512,
            "guidance_scale": 1,
            "min_area_ratio": 0,
        }
        | fields
        for name, fields in models.items()
    ]
    content = {"default_model": next(iter(models)), "models": entries, "sub_models": sub_models}
    file = folder / "models.yaml"
    file.write_text(yaml.safe_dump(content))
    return load_registry(file)


def _sd3() -> DiffusionPipeline:
    tokenizer = _clip_tokenizer()
    tokenizer_3, text_encoder_3 = _t5()
    transformer = SD3Transformer2DModel(
        sample_size=32,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=96,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(),
        text_encoder=CLIPTextModelWithProjection(_clip_config(tokenizer, WIDTH // 2)),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(tokenizer, WIDTH // 2)),
        tokenizer_2=tokenizer,
        text_encoder_3=text_encoder_3,
        tokenizer_3=tokenizer_3,
    )


def _flux(pipeline_class: Any, *, in_channels: int, is_distilled: bool) -> DiffusionPipeline:
    tokenizer = _clip_tokenizer()
    tokenizer_2, text_encoder_2 = _t5()
    transformer = FluxTransformer2DModel(
        in_channels=in_channels,
        out_channels=4 * LATENT_CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=is_distilled,
        axes_dims_rope=(4, 6, 6),
    )
    return pipeline_class(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=is_distilled),
        vae=_vae(),
        text_encoder=CLIPTextModel(_clip_config(tokenizer, WIDTH)),
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
    )


def _flux_fill() -> DiffusionPipeline:
    # Latents, latents of the masked image, and a mask value for each of 16x16 pixels.
    in_channels = 2 * 4 * LATENT_CHANNELS + 16 * 16
    return _flux(FluxFillPipeline, in_channels=in_channels, is_distilled=True)


def _qwen_image() -> DiffusionPipeline:
    tokenizer = _qwen_tokenizer()
    text = _qwen_text_sizes(tokenizer) | {
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision | {"out_hidden_size": WIDTH, "fullatt_block_indexes": [0]},
    )
    return QwenImagePipeline(
        transformer=QwenImageTransformer2DModel(
            in_channels=4 * LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 6, 6),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.02),
        vae=AutoencoderKLQwenImage(base_dim=8, z_dim=LATENT_CHANNELS, num_res_blocks=1),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=tokenizer,
    )


def _z_image() -> DiffusionPipeline:
    tokenizer = _qwen_tokenizer()
    transformer = ZImageTransformer2DModel(
        in_channels=LATENT_CHANNELS,
        dim=WIDTH,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 256, 256],
    )
    for parameter in transformer.parameters():
        # The modulation of its blocks has no initial values of its own.
        if parameter.dim() == 2 and parameter.shape[0] > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    return ZImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(),
        text_encoder=Qwen3Model(Qwen3Config(**_qwen_text_sizes(tokenizer), head_dim=8)),
        tokenizer=tokenizer,
    )


KINDS: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd3": _sd3,
    "flux": lambda: _flux(FluxPipeline, in_channels=4 * LATENT_CHANNELS, is_distilled=True),
    "schnell": lambda: _flux(FluxPipeline, in_channels=4 * LATENT_CHANNELS, is_distilled=False),
    "flux_fill": _flux_fill,
    "qwen_image": _qwen_image,
    "z_image": _z_image,
}


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=LATENT_CHANNELS,
        sample_size=64,
        scaling_factor=1.5,
        shift_factor=0.06,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _clip_tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(TOKENIZER_FOLDER)


def _clip_config(tokenizer: CLIPTokenizer, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=WIDTH,
        num_attention_heads=2,
        num_hidden_layers=2,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _t5() -> tuple[T5Tokenizer, T5EncoderModel]:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *map(chr, range(ord("!"), ord("~") + 1))]
    tokenizer = T5Tokenizer(
        vocab=[(piece, 0.0 if piece.startswith("<") else -2.0) for piece in pieces], extra_ids=0
    )
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=WIDTH,
        d_kv=8,
        d_ff=2 * WIDTH,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    return tokenizer, T5EncoderModel(config)


def _qwen_tokenizer() -> Qwen2Tokenizer:
    """Bytes, and the marks of a chat."""
    vocab = {piece: index for index, piece in enumerate(sorted(ByteLevel.alphabet()))}
    vocab["<|endoftext|>"] = len(vocab)
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = _CHATML
    return tokenizer


def _qwen_text_sizes(tokenizer: Qwen2Tokenizer) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
    }
