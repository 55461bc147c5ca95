"""A LoRA file judged from its header: which modules, which family, which kinds. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from engine.adapters.lora_keys import alpha_from_metadata, group_keys
from engine.adapters.lora_shapes import UpdateShape, update_shape
from engine.errors import WeightsUnavailable
from engine.safetensors_header import SafetensorsHeader, read_safetensors_header

LoraFamily = Literal["sd1", "sd2", "sdxl", "pipeline"]

# Width of the text states that a UNet's cross-attention reads.
_FAMILY_OF_WIDTH: dict[int, LoraFamily] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_CROSS_ATTENTION_INPUTS = ("attn2_to_k", "attn2_to_v", "attn2.to_k", "attn2.to_v")
_CROSS_ATTENTION_PROCESSORS = ("attn2.processor.to_k", "attn2.processor.to_v")
# Denoisers that are no UNet: FLUX, SD3, Qwen-Image, Z-Image.
_TRANSFORMER_STEMS = (
    "transformer.",
    "lora_transformer_",
    "lora_unet_double_blocks_",
    "lora_unet_single_blocks_",
    "lora_unet_joint_blocks_",
    "lora_unet_transformer_blocks_",
    "diffusion_model.double_blocks.",
    "diffusion_model.single_blocks.",
    "diffusion_model.joint_blocks.",
    "diffusion_model.transformer_blocks.",
    "diffusion_model.layers.",
)
# Trainers spell UNet modules by their original block numbers for SDXL alone.
_SDXL_STEMS = (
    "lora_te2_",
    "text_encoder_2.",
    "lora_unet_input_blocks_",
    "lora_unet_middle_block_",
    "lora_unet_output_blocks_",
)
# The one text encoder of SD 1 and SD 2 in kohya's spelling, by the width of its attention.
_TEXT_STEM = "lora_te_text_model_encoder_layers_"
_FAMILY_OF_TEXT_WIDTH: dict[int, LoraFamily] = {768: "sd1", 1024: "sd2"}
_FAMILY_OF_TRAINER_NOTE: dict[str, LoraFamily] = {
    "sdxl": "sdxl",
    "stable-diffusion-xl": "sdxl",
    "sd_v1": "sd1",
    "stable-diffusion-v1": "sd1",
    "sd_v2": "sd2",
    "stable-diffusion-v2": "sd2",
    "sd3": "pipeline",
    "stable-diffusion-3": "pipeline",
    "flux": "pipeline",
}


@dataclass(frozen=True, slots=True)
class LoraModule:
    """The update of one module as the file holds it.

    Attributes:
        stem: the module's name as the file spells it.
        keys: the key of each part, see `lora_keys`.
        shape: what the parts amount to.
        alpha: from the metadata, for files that keep it there; a part "alpha" goes before it.
    """

    stem: str
    keys: Mapping[str, str]
    shape: UpdateShape
    alpha: float | None


@dataclass(frozen=True, slots=True)
class LoraInfo:
    """What the header of a LoRA file tells.

    Attributes:
        path: the file.
        family: of the models it was trained on; None where the header does not tell.
        cross_attention_dim: width of the text states it expects; None where it touches none.
        kinds: "lora", "locon", "loha", "lokr", and "dora" where magnitudes are trained too.
        modules: one an updated module, in file order.
        unknown_keys: keys that are no part of any kind known here.
    """

    path: Path
    family: LoraFamily | None
    cross_attention_dim: int | None
    kinds: frozenset[str]
    modules: tuple[LoraModule, ...]
    unknown_keys: tuple[str, ...]


def read_lora_info(path: Path) -> LoraInfo:
    """Reads the header of the LoRA file `path`; reads it again only when the file has changed.

    Raises:
        WeightsUnavailable: no readable safetensors file, no LoRA, or one with broken parts; the
            message is one line and names the file and the module.
    """
    try:
        status = path.stat()
    except OSError as exc:
        raise WeightsUnavailable(f"{path}: cannot be read ({exc.strerror})") from exc
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _read(path: Path, _mtime_ns: int, _size: int) -> LoraInfo:
    header = read_safetensors_header(path)
    grouped, unknown = group_keys(header.tensors)
    configs = _peft_configs(path, header)
    modules = []
    for stem, keys in grouped.items():
        if set(keys) == {"alpha"}:  # left behind by tools that drop modules
            unknown += (keys["alpha"],)
        else:
            modules.append(_module(path, stem, keys, header, configs))
    if not modules:
        first = next(iter(header.tensors), "no key at all")
        raise WeightsUnavailable(f"{path}: holds no LoRA (its first key: {first})")
    width = _cross_attention_dim(modules)
    return LoraInfo(
        path=path,
        family=_family(modules, width, header.metadata),
        cross_attention_dim=width,
        kinds=frozenset(kind for module in modules for kind in _kinds(module.shape)),
        modules=tuple(modules),
        unknown_keys=unknown,
    )


def _module(
    path: Path,
    stem: str,
    keys: dict[str, str],
    header: SafetensorsHeader,
    configs: Mapping[str, Mapping[str, Any]],
) -> LoraModule:
    tensors = {part: header.tensors[key] for part, key in keys.items()}
    try:
        for part, tensor in tensors.items():
            if not tensor.is_floating and part != "alpha":
                raise ValueError(f"{keys[part]} holds {tensor.dtype}, not floating point numbers")
        shape = update_shape({part: tensor.shape for part, tensor in tensors.items()})
        alpha = _alpha(stem, shape.rank, configs)
    except ValueError as exc:
        raise WeightsUnavailable(f"{path}: {stem}: {exc}") from exc
    return LoraModule(stem, keys, shape, alpha)


def _alpha(stem: str, rank: int | None, configs: Mapping[str, Mapping[str, Any]]) -> float | None:
    for prefix, config in configs.items():
        if rank is not None and stem.startswith(prefix):
            return alpha_from_metadata(stem, rank, config)
    return None


def _peft_configs(path: Path, header: SafetensorsHeader) -> dict[str, dict[str, Any]]:
    """The peft `LoraConfig` of each model a file covers, by the prefix of its stems.

    diffusers packs them into the header as `unet.lora_alpha` and so on; peft itself writes one
    `adapter_config.json` beside its `adapter_model.safetensors`.

    Raises:
        WeightsUnavailable: there is one, and it is no JSON object.
    """
    config_file = path.with_name("adapter_config.json")
    if packed := header.metadata.get("lora_adapter_metadata"):
        configs: dict[str, dict[str, Any]] = {}
        for name, value in _json_object(path, packed).items():
            prefix, _, field = name.partition(".")
            configs.setdefault(f"{prefix}.", {})[field] = value
        return configs
    if path.name == "adapter_model.safetensors" and config_file.is_file():
        return {"": _json_object(config_file, config_file.read_text("utf-8", "replace"))}
    return {}


def _json_object(path: Path, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise WeightsUnavailable(f"{path}: its adapter metadata is not valid JSON") from exc
    if not isinstance(content, dict):
        raise WeightsUnavailable(f"{path}: its adapter metadata is not a JSON object")
    return content


def _kinds(shape: UpdateShape) -> set[str]:
    kind = "locon" if shape.kind == "lora" and shape.is_convolution else shape.kind
    return {kind, "dora"} if shape.has_magnitude else {kind}


def _cross_attention_dim(modules: list[LoraModule]) -> int | None:
    """The one width all cross-attention inputs agree on."""
    widths = {
        module.shape.columns
        for module in modules
        if module.stem.endswith(_CROSS_ATTENTION_INPUTS + _CROSS_ATTENTION_PROCESSORS)
        and not module.stem.startswith(_TRANSFORMER_STEMS)
    }
    return widths.pop() if len(widths) == 1 else None


def _family(
    modules: list[LoraModule], width: int | None, metadata: Mapping[str, str]
) -> LoraFamily | None:
    """By what cannot lie first: shapes, then names, then what the trainer noted."""
    if width in _FAMILY_OF_WIDTH:
        return _FAMILY_OF_WIDTH[width]
    stems = [module.stem for module in modules]
    if any(stem.startswith(_TRANSFORMER_STEMS) for stem in stems):
        return "pipeline"
    if any(stem.startswith(_SDXL_STEMS) for stem in stems):
        return "sdxl"
    if (family_of_text := _family_of_text_encoder(modules)) is not None:
        return family_of_text
    note = metadata.get("modelspec.architecture") or metadata.get("ss_base_model_version") or ""
    for start, family in _FAMILY_OF_TRAINER_NOTE.items():
        if note.startswith(start):
            return family
    return None


def _family_of_text_encoder(modules: list[LoraModule]) -> LoraFamily | None:
    """For files that leave the UNet's cross-attention alone."""
    for module in modules:
        if module.stem.startswith(_TEXT_STEM) and module.stem.endswith("_q_proj"):
            return _FAMILY_OF_TEXT_WIDTH.get(module.shape.columns)
    return None
