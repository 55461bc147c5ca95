"""Every name a LoRA file may use for a module, generated from the loaded modules themselves.

Three conventions meet here: diffusers' module paths, kohya's paths with dots as underscores, and
the block numbering of the original LDM and SGM code, which SDXL LoRAs use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from engine.original_keys import original_unet_name

UNET = "unet"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")

# diffusers' old names of a text encoder's projections.
_TEXT_PROCESSOR_NAMES = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}


@dataclass(frozen=True, slots=True)
class Target:
    """A module that can be updated.

    Attributes:
        model: "unet", "text_encoder" or "text_encoder_2".
        path: its path inside that model.
        module: Linear, or Conv2d without groups.
    """

    model: str
    path: str
    module: nn.Linear | nn.Conv2d


def name_table(unet: Any, text_encoders: Sequence[nn.Module]) -> dict[str, Target]:
    """Each stem a LoRA file may use -> the module it means.

    Args:
        unet: diffusers' UNet2DConditionModel.
        text_encoders: CLIP text models, one or two.
    """
    table: dict[str, Target] = {}
    for target in _targets(UNET, unet):
        for name in _unet_names(target.path, original_unet_name(target.path, unet.config)):
            _enter(table, name, target)
    prefixes = ("lora_te_",) if len(text_encoders) == 1 else ("lora_te1_", "lora_te2_")
    for model, encoder, prefix in zip(TEXT_ENCODERS, text_encoders, prefixes, strict=False):
        for target in _targets(model, encoder):
            for name in _text_names(target.path, model, prefix):
                _enter(table, name, target)
    return table


def _enter(table: dict[str, Target], name: str, target: Target) -> None:
    known = table.setdefault(name, target)
    assert known == target, f"{name} names both {known.path} and {target.path}"


def _targets(model: str, root: nn.Module) -> Iterator[Target]:
    for path, module in root.named_modules():
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
            yield Target(model, path, module)


def _unet_names(path: str, original_path: str) -> Iterator[str]:
    yield path  # files of attention processors alone carry no prefix
    yield f"unet.{path}"
    yield f"base_model.model.{path}"
    yield f"lora_unet_{path.replace('.', '_')}"
    if (processor := _processor_path(path)) is not None:
        yield processor
        yield f"unet.{processor}"
    yield f"diffusion_model.{original_path}"
    yield f"lora_unet_{original_path.replace('.', '_')}"


def _processor_path(path: str) -> str | None:
    """`attn1.to_out.0` -> `attn1.processor.to_out`: diffusers' first LoRA layout."""
    attention, _, projection = path.removesuffix(".0").rpartition(".")
    is_projection = projection in ("to_q", "to_k", "to_v", "to_out")
    return f"{attention}.processor.{projection}" if is_projection else None


def _text_names(path: str, model: str, kohya_prefix: str) -> Iterator[str]:
    """Names of a text encoder's module.

    Transformers 5 flattened CLIPTextModel; files say `text_model.` as before.
    """
    full = path
    if path.startswith(("encoder.", "embeddings.")):
        full = f"text_model.{path}"
    for spelling in {path, full}:
        yield f"{model}.{spelling}"
        parent, _, name = spelling.rpartition(".")
        if name in _TEXT_PROCESSOR_NAMES:
            yield f"{model}.{parent}.{_TEXT_PROCESSOR_NAMES[name]}"
    yield f"{kohya_prefix}{full.replace('.', '_')}"
    if model == TEXT_ENCODERS[0]:
        yield f"base_model.model.{full}"
