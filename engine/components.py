"""Opens a registry entry: every module of a checkpoint beside its weights, nothing loaded yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.checkpoint_info import (
    CONFIGS,
    CheckpointInfo,
    read_config,
    text_encoder_folders,
)
from engine.component import Component
from engine.errors import WeightsUnavailable
from engine.original_keys import (
    KeyMap,
    Source,
    original_open_clip,
    original_unet_name,
    original_vae_name,
)
from engine.registry import MainModel
from engine.single_file import UNET_PREFIX, VAE_PREFIX, text_prefixes
from engine.weights import Weights, open_file, open_folder

_VAE_CLASSES: dict[str, Any] = {
    "AutoencoderKL": AutoencoderKL,
    "AutoencoderTiny": AutoencoderTiny,
}
# Attention of VAEs saved before diffusers 0.17.
_OLD_VAE_ATTENTION = {
    "to_q": "query",
    "to_k": "key",
    "to_v": "value",
    "to_out.0": "proj_attn",
}
# Kept by various savers, used by none of the modules here.
_IGNORED_TEXT = ("position_ids", "logit_scale", "attn_mask")
_IGNORED_TEXT_PREFIXES = ("vision_model.", "visual.", "visual_projection.")
_IGNORED_VAE_PREFIXES = ("loss.", "model_ema.", "discriminator.")


@dataclass(frozen=True, slots=True)
class OpenCheckpoint:
    """The parts of one entry.

    Attributes:
        unet: the denoiser.
        text_encoders: one, or SDXL's two.
        own_vae: the checkpoint's; None for single files that were saved without.
        shared_vae: the one its entry names instead, else None.
    """

    unet: Component
    text_encoders: tuple[Component, ...]
    own_vae: Component | None
    shared_vae: Component | None

    @property
    def components(self) -> tuple[Component, ...]:
        """All of them."""
        parts = (self.unet, *self.text_encoders, self.own_vae, self.shared_vae)
        return tuple(part for part in parts if part is not None)


def open_checkpoint(model: MainModel) -> OpenCheckpoint:
    """Builds every module on the meta device and opens its weights; takes no memory to speak of.

    Raises:
        WeightsUnavailable: a file is missing or of another format, or a config is unusable.
    """
    info = model.checkpoint_info
    shared_vae = open_vae(model.shared_vae, model, info) if model.shared_vae else None
    if model.path.is_dir():
        return OpenCheckpoint(
            _folder_unet(model), _folder_text_encoders(model, info), _folder_vae(model), shared_vae
        )
    weights = open_file(model.path, allow_pickle=model.allow_pickle)
    return file_components(weights, info, shared_vae)


def open_vae(path: Path, model: MainModel, info: CheckpointInfo) -> Component:
    """A VAE of its own: a folder, or a file in the original or in diffusers' layout.

    A file does not say how its latents are scaled: a KL one is taken for one of the entry's family.

    Raises:
        WeightsUnavailable: as `open_checkpoint`.
    """
    if path.is_dir():
        return _vae_of_folder(path, allow_pickle=model.allow_pickle)
    weights = open_file(path, allow_pickle=model.allow_pickle)
    names = weights.tensors
    prefix = VAE_PREFIX if any(name.startswith(VAE_PREFIX) for name in names) else ""
    if any(name.startswith("encoder.layers.") for name in names):
        config_file = CONFIGS / "tiny_vae" / "config.json"
        return _vae(config_file, weights, prefix, lambda name, _config: name)
    if any(name.startswith(prefix + "encoder.down_blocks.") for name in names):
        config_file = info.config_folder / "vae" / "config.json"
        return _vae(config_file, weights, prefix, _folder_vae_names(weights))
    return _file_vae(weights, prefix, info)


# --- diffusers folders ---


def _folder_unet(model: MainModel) -> Component:
    folder = model.path / "unet"
    weights = _open_part(folder, "diffusion_pytorch_model", model)
    module = build_on_meta(folder / "config.json", UNet2DConditionModel.from_config)
    return Component("unet", module, weights, "", Source, nothing_ignored)


def _folder_text_encoders(model: MainModel, info: CheckpointInfo) -> tuple[Component, ...]:
    return tuple(_folder_text_encoder(model, name) for name in text_encoder_folders(info.family))


def _folder_text_encoder(model: MainModel, name: str) -> Component:
    folder = model.path / name
    weights = _open_part(folder, "model", model)
    wrapped = any(key.startswith("text_model.") for key in weights.tensors)

    def key_map(parameter: str) -> Source:
        if parameter == "text_projection.weight":
            return Source(parameter)
        bare = parameter.removeprefix("text_model.")
        return Source(f"text_model.{bare}" if wrapped else bare)

    return _text_encoder(folder / "config.json", name, weights, "", key_map)


def _folder_vae(model: MainModel) -> Component:
    return _vae_of_folder(model.path / "vae", allow_pickle=model.allow_pickle)


def _vae_of_folder(folder: Path, *, allow_pickle: bool) -> Component:
    config_file = folder / "config.json"
    read_config(config_file)
    weights = open_folder(folder, "diffusion_pytorch_model", allow_pickle=allow_pickle)
    return _vae(config_file, weights, "", _folder_vae_names(weights))


def _folder_vae_names(weights: Weights) -> Callable[[str, Any], str]:
    """Names as they are, or with the attention spelled as older releases did."""
    is_old = any(name.endswith("mid_block.attentions.0.query.weight") for name in weights.tensors)

    def name_of(parameter: str, _config: Any) -> str:
        if is_old and ".attentions." in parameter:
            for new, old in _OLD_VAE_ATTENTION.items():
                parameter = parameter.replace(f".{new}.", f".{old}.")
        return parameter

    return name_of


def _open_part(folder: Path, stem: str, model: MainModel) -> Weights:
    return open_folder(folder, stem, allow_pickle=model.allow_pickle)


# --- single files ---


def file_components(
    weights: Weights, info: CheckpointInfo, shared_vae: Component | None = None
) -> OpenCheckpoint:
    """The parts of an opened single file."""
    return OpenCheckpoint(
        _file_unet(weights, info),
        _file_text_encoders(weights, info),
        _file_vae(weights, VAE_PREFIX, info) if info.has_vae else None,
        shared_vae,
    )


def _file_unet(weights: Weights, info: CheckpointInfo) -> Component:
    config_file = info.config_folder / "unet" / "config.json"
    channels = {"in_channels": info.unet_in_channels}
    module = build_on_meta(
        config_file, lambda config: UNet2DConditionModel.from_config(config | channels)
    )

    def key_map(parameter: str) -> Source:
        return Source(original_unet_name(parameter, module.config))

    return Component("unet", module, weights, UNET_PREFIX, key_map, nothing_ignored)


def _file_text_encoders(weights: Weights, info: CheckpointInfo) -> tuple[Component, ...]:
    folders = text_encoder_folders(info.family)
    prefixes = text_prefixes(info.family, weights.tensors)
    return tuple(
        _file_text_encoder(weights, info.config_folder / folder / "config.json", folder, prefix)
        for folder, prefix in zip(folders, prefixes, strict=True)
    )


def _file_text_encoder(weights: Weights, config_file: Path, name: str, prefix: str) -> Component:
    if not prefix.endswith(".transformer."):
        return _file_open_clip(weights, config_file, name, prefix)
    # SD 1 files of some early merging tools lack the level "text_model.".
    wrapped = any(key.startswith(prefix + "text_model.") for key in weights.tensors)
    level = "text_model." if wrapped else ""
    return _text_encoder(
        config_file, name, weights, prefix, lambda parameter: Source(level + parameter)
    )


def _file_open_clip(weights: Weights, config_file: Path, name: str, prefix: str) -> Component:
    linear = "text_projection.weight"  # some converters keep the name and layout of transformers
    is_linear = prefix + linear in weights.tensors

    def key_map(parameter: str) -> Source:
        return (
            Source(linear) if is_linear and parameter == linear else original_open_clip(parameter)
        )

    return _text_encoder(config_file, name, weights, prefix, key_map)


def _file_vae(weights: Weights, prefix: str, info: CheckpointInfo) -> Component:
    config_file = info.config_folder / "vae" / "config.json"
    return _vae(config_file, weights, prefix, original_vae_name)


# --- both ---


def _text_encoder(
    config_file: Path, name: str, weights: Weights, prefix: str, key_map: KeyMap
) -> Component:
    has_projection = name == "text_encoder_2"
    text_class = CLIPTextModelWithProjection if has_projection else CLIPTextModel
    module = build_on_meta(config_file, lambda config: text_class(CLIPTextConfig.from_dict(config)))
    # SD 2 leaves out its encoder's last layer, which its files still hold.
    unused_layer = f"transformer.resblocks.{module.config.num_hidden_layers}."

    def is_ignored(key: str) -> bool:
        return (
            key.rpartition(".")[2] in _IGNORED_TEXT
            or key.startswith((unused_layer, *_IGNORED_TEXT_PREFIXES))
            or (key.startswith("text_projection") and not has_projection)
        )

    return Component(name, module, weights, prefix, key_map, is_ignored)


def _vae(
    config_file: Path, weights: Weights, prefix: str, name_of: Callable[[str, Any], str]
) -> Component:
    class_name = str(read_config(config_file).get("_class_name"))
    if class_name not in _VAE_CLASSES:
        known = ", ".join(_VAE_CLASSES)
        raise WeightsUnavailable(f"{config_file}: names none of {known}")
    module = build_on_meta(config_file, _VAE_CLASSES[class_name].from_config)

    def key_map(parameter: str) -> Source:
        return Source(name_of(parameter, module.config))

    dtype = torch.float32 if read_config(config_file).get("force_upcast") else None
    return Component("vae", module, weights, prefix, key_map, _is_unused_by_vae, dtype)


def build_on_meta(config_file: Path, make: Callable[[dict[str, Any]], Any]) -> Any:
    """What `make` builds of a config, on the meta device: shapes without memory.

    Raises:
        WeightsUnavailable: whatever a library makes of a bad config, in one line.
    """
    config = read_config(config_file)
    try:
        with torch.device("meta"):
            return make(config)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as exc:
        reason = str(exc).strip().partition("\n")[0]
        raise WeightsUnavailable(f"{config_file}: unusable config: {reason}") from exc


def nothing_ignored(_key: str) -> bool:
    """For files that hold nothing but what is needed."""
    return False


def _is_unused_by_vae(key: str) -> bool:
    return key.startswith(_IGNORED_VAE_PREFIXES)
