"""A registry entry -> loaded modules on a device."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from engine.errors import GpuOutOfMemory, WeightsUnavailable
from engine.registry import MainModel
from engine.vae import LatentCodec

T = TypeVar("T")

_VAE_CLASSES: dict[str, Any] = {
    "AutoencoderKL": AutoencoderKL,
    "AutoencoderTiny": AutoencoderTiny,
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything of one main model that lives on the device, in eval mode, never written to.

    Attributes:
        name: of the registry entry.
        unet: denoiser with 4 or 9 input channels.
        vae: the codec jobs of this entry use by default.
        own_vae: the checkpoint's own codec (the same object when the entry names no other).
        text_encoder: CLIP text model.
        tokenizer: its tokenizer.
        device: where the modules live.
        dtype: of UNet and text encoder.
    """

    name: str
    unet: UNet2DConditionModel
    vae: LatentCodec
    own_vae: LatentCodec
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    device: torch.device
    dtype: torch.dtype

    @property
    def needs_masked_image(self) -> bool:
        """Whether the UNet takes mask and masked image (9 channels)."""
        return int(self.unet.config.in_channels) == 9


def load_checkpoint(model: MainModel, *, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """Loads a diffusers folder from local files only.

    Raises:
        WeightsUnavailable: a file is missing, truncated or does not fit its config.
        GpuOutOfMemory: the device cannot hold the model.
    """
    # Both libraries warn about harmless details of valid folders on every load.
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
    folder = model.path
    unet = _load(
        folder / "unet",
        lambda path: UNet2DConditionModel.from_pretrained(
            path, dtype=dtype, local_files_only=True, use_safetensors=True
        ),
        device,
    )
    text_encoder = _load(
        folder / "text_encoder",
        lambda path: _load_text_encoder(path, dtype),
        device,
    )
    tokenizer = _load(
        folder / "tokenizer",
        lambda path: CLIPTokenizer.from_pretrained(path, local_files_only=True),
    )
    own_vae = load_vae(folder / "vae", device=device, dtype=dtype)
    shared = model.shared_vae
    vae = load_vae(shared, device=device, dtype=dtype) if shared else own_vae
    for each in (own_vae, vae):
        if (each.factor, each.latent_channels) != (own_vae.factor, unet.config.out_channels):
            raise WeightsUnavailable(
                f"{folder if each is own_vae else shared}: this VAE has {each.latent_channels}"
                f" channels and factor {each.factor}, the UNet needs {unet.config.out_channels}"
                f" channels and factor {own_vae.factor}"
            )
    unet.to(memory_format=torch.channels_last)
    return Checkpoint(model.name, unet, vae, own_vae, text_encoder, tokenizer, device, dtype)


def _load_text_encoder(folder: Path, dtype: torch.dtype) -> CLIPTextModel:
    text_encoder, report = CLIPTextModel.from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):
        # transformers would go on with random values in their place.
        raise WeightsUnavailable(f"{folder}: the weight {missing[0]!r} is missing")
    return text_encoder


def load_vae(folder: Path, *, device: torch.device, dtype: torch.dtype) -> LatentCodec:
    """Loads a VAE folder by the class its config names.

    Raises:
        WeightsUnavailable: as `load_checkpoint`.
    """
    config_file = folder / "config.json"
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        vae_class = _VAE_CLASSES[config["_class_name"]]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        known = ", ".join(_VAE_CLASSES)
        raise WeightsUnavailable(f"{config_file}: names none of {known}") from exc
    if config.get("force_upcast"):
        dtype = torch.float32
    module = _load(
        folder,
        lambda path: vae_class.from_pretrained(
            path, dtype=dtype, local_files_only=True, use_safetensors=True
        ),
        device,
    )
    return LatentCodec(module)


def _load(folder: Path, load: Callable[[Path], T], device: torch.device | None = None) -> T:
    """Runs one library loader and turns whatever it raises into one line that names the folder."""
    if not os.access(folder, os.R_OK | os.X_OK):
        raise WeightsUnavailable(f"{folder}: cannot be read")
    try:
        loaded = load(folder)
        if device is not None:
            loaded.to(device).eval().requires_grad_(False)  # type: ignore[attr-defined]
    except torch.OutOfMemoryError as exc:
        raise GpuOutOfMemory(f"{folder}: does not fit into the device's memory") from exc
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as exc:
        reason = str(exc).strip().partition("\n")[0]
        raise WeightsUnavailable(f"{folder}: cannot be loaded: {reason}") from exc
    return loaded
