"""A registry entry -> loaded modules on a device."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from diffusers import UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from engine.adapters.host import AdapterHost
from engine.checkpoint_info import CheckpointInfo, read_config, text_encoder_folders
from engine.clip_tokenizer import clip_tokenizer
from engine.component import Component
from engine.components import OpenCheckpoint, open_checkpoint
from engine.device_profile import vae_dtype
from engine.errors import WeightsUnavailable
from engine.families import Family
from engine.registry import MainModel
from engine.vae import LatentCodec

TextEncoder: TypeAlias = CLIPTextModel | CLIPTextModelWithProjection

next_serial = itertools.count().__next__


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything of one main model that lives on the device, in eval mode, never written to.

    Attributes:
        name: of the registry entry.
        family: sd1, sd2 or sdxl.
        unet: denoiser with 4 or 9 input channels.
        vae: the codec jobs of this entry use by default.
        own_vae: the checkpoint's own codec; the same object when the entry names no other, or the
            checkpoint has none.
        text_encoders: CLIP text models; SDXL has two, CLIP-L first.
        tokenizers: theirs, in the same order.
        device: where the modules live.
        dtype: of UNet and text encoders.
        adapters: LoRAs of this checkpoint, loaded as jobs ask for them.
        serial: names it in this process for ever, unlike an address.
    """

    name: str
    family: Family
    unet: UNet2DConditionModel
    vae: LatentCodec
    own_vae: LatentCodec
    text_encoders: tuple[TextEncoder, ...]
    tokenizers: tuple[CLIPTokenizer, ...]
    device: torch.device
    dtype: torch.dtype
    adapters: AdapterHost
    serial: int = field(default_factory=next_serial)

    @property
    def needs_masked_image(self) -> bool:
        """Whether the UNet takes mask and masked image (9 channels)."""
        return int(self.unet.config.in_channels) == 9


def text_body(text_encoder: TextEncoder) -> Any:
    """The module with `embeddings`, `encoder` and `final_layer_norm`.

    transformers 5 flattened `CLIPTextModel` to be that module; the variant with a projection
    still wraps one.
    """
    return getattr(text_encoder, "text_model", text_encoder)


def load_checkpoint(model: MainModel, *, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """Loads a diffusers folder or a single file, from local files only.

    Names and shapes of every part are compared before the first byte of weights is read.

    Raises:
        WeightsUnavailable: a file is missing, truncated or does not fit its config.
        GpuOutOfMemory: the device cannot hold the model.
    """
    # Both libraries warn about harmless details of valid configs on every load.
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    info = model.checkpoint_info
    parts = open_checkpoint(model)
    for component in parts.components:
        component.check()
    check_vaes(model, parts)
    tokenizers = tuple(
        load_tokenizer(info.config_folder / folder.replace("text_encoder", "tokenizer"))
        for folder in text_encoder_folders(info.family)
    )
    unet = parts.unet.load(device, dtype).to(memory_format=torch.channels_last)
    text_encoders = tuple(component.load(device, dtype) for component in parts.text_encoders)
    own_vae, shared_vae = (
        None if component is None else LatentCodec(component.load(device, vae_dtype(dtype)))
        for component in (parts.own_vae, parts.shared_vae)
    )
    vae = shared_vae or own_vae
    assert vae is not None, "check_vaes has seen one"
    return Checkpoint(
        name=model.name,
        family=info.family,
        unet=unet,
        vae=vae,
        own_vae=own_vae or vae,
        text_encoders=text_encoders,
        tokenizers=tokenizers,
        device=device,
        dtype=dtype,
        adapters=AdapterHost(unet, text_encoders),
    )


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer of a folder; CLIP's own with the folder's padding where it holds none.

    Raises:
        WeightsUnavailable: its files are broken.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return clip_tokenizer(str(read_config(folder / "tokenizer_config.json")["pad_token"]))
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as exc:
        # The tokenizer library raises bare Exceptions.
        reason = str(exc).strip().partition("\n")[0]
        raise WeightsUnavailable(f"{folder}: cannot be loaded: {reason}") from exc


def check_vaes(model: MainModel, parts: OpenCheckpoint) -> None:
    """There must be a VAE, and every one must speak the UNet's latents.

    Raises:
        WeightsUnavailable: there is none, or one has other channels or another factor.
    """
    if parts.own_vae is None and parts.shared_vae is None:
        raise WeightsUnavailable(f"{model.path}: holds no VAE: name one as shared_vae")
    for component in filter(None, (parts.own_vae, parts.shared_vae)):
        _check_vae(component, parts.unet, model.checkpoint_info)


def _check_vae(vae: Component, unet: Component, info: CheckpointInfo) -> None:
    config = vae.module.config
    factor = 2 ** (len(config.block_out_channels) - 1)
    channels = unet.module.config.out_channels
    if (factor, config.latent_channels) != (info.vae_scale_factor, channels):
        raise WeightsUnavailable(
            f"{vae.weights.path}: this VAE has {config.latent_channels} channels and factor"
            f" {factor}, the UNet needs {channels} channels and factor {info.vae_scale_factor}"
        )
