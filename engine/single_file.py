"""What a single-file checkpoint in the original (LDM, SGM) layout is, told by its header alone.

Family and channels follow from the names and shapes of tensors, never from their widths, so that
slimmed or widened variants are recognised too. The prediction type is in no tensor of the original
layouts: it comes from marker tensors or from the header's metadata (modelspec), where present.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.families import Family
from engine.safetensors_header import SafetensorsHeader

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
_CONV_IN = UNET_PREFIX + "input_blocks.0.0.weight"

# Where each text encoder lies, in the order of the checkpoint's encoders.
_TEXT_PREFIXES: dict[Family, tuple[str, ...]] = {
    "sd1": ("cond_stage_model.transformer.",),
    "sd2": ("cond_stage_model.model.",),
    "sdxl": ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
}
# SD 2 as the newer SGM code saves it (SD Turbo). SDXL's refiner has its one encoder there too.
_SGM_OPEN_CLIP = "conditioner.embedders.0.model."
# The size and crop conditioning of SDXL and its refiner.
_SIZE_CONDITIONING = UNET_PREFIX + "label_emb."
# Only models trained in EDM's parametrisation (arXiv 2206.00364) carry these: CosXL, Playground.
_EDM_MARKERS = ("edm_mean", "edm_std", "edm_vpred.sigma_max", "edm_vpred.sigma_min")

# Files of other kinds, by the start of any of their names.
_OTHER_KINDS = {
    "lora_unet_": "a LoRA; list it under sub_models",
    "lora_te": "a LoRA; list it under sub_models",
    "unet.down_blocks.": "a LoRA in the diffusers layout; list it under sub_models",
    "emb_params": "an embedding; list it under sub_models",
    "clip_l": "an embedding; list it under sub_models",
    "model.diffusion_model.double_blocks.": "a FLUX model; use its diffusers folder",
    "double_blocks.": "a FLUX transformer; use its diffusers folder",
    "model.diffusion_model.joint_blocks.": "an SD 3 model; use its diffusers folder",
    "down_blocks.": "the UNet of a diffusers folder; use the whole folder",
    "control_model.": "a ControlNet",
    "first_stage_model.": "a VAE; name it as shared_vae",
    "encoder.": "a VAE; name it as shared_vae",
    "text_model.": "a text encoder",
}


@dataclass(frozen=True, slots=True)
class SingleFile:
    """What the header of a checkpoint file tells.

    Attributes:
        family: by where its text encoders lie.
        in_channels: of the UNet's first convolution.
        prediction_type: "epsilon" or "v_prediction" where the file states one, else None.
        zero_snr: True where the file says that it was trained to zero terminal SNR, else None.
        has_vae: whether it carries a VAE.
        header_family: the family the metadata names, None where they name none.
    """

    family: Family
    in_channels: int
    prediction_type: str | None
    zero_snr: bool | None
    has_vae: bool
    header_family: Family | None


def detect_single_file(header: SafetensorsHeader) -> SingleFile:
    """Tells what a checkpoint file holds.

    Raises:
        ValueError: it is no SD 1, SD 2 or SDXL checkpoint; the message says what it looks like.
    """
    tensors = header.tensors
    conv_in = tensors.get(_CONV_IN)
    if conv_in is None:
        raise ValueError(_what_instead(header))
    if len(conv_in.shape) != 4:
        raise ValueError(f"the tensor {_CONV_IN!r} has the shape {list(conv_in.shape)}")
    if not tensors.keys().isdisjoint(_EDM_MARKERS):
        raise ValueError("it is a model in the EDM parametrisation, which no sampler here speaks")
    return SingleFile(
        family=_family(header),
        in_channels=conv_in.shape[1],
        prediction_type=_prediction_type(header),
        zero_snr=True if "ztsnr" in tensors else None,
        has_vae=_any_starts(tensors, VAE_PREFIX),
        header_family=_header_family(header),
    )


def text_prefixes(family: Family, names: Iterable[str]) -> tuple[str, ...]:
    """What the names of each text encoder's tensors begin with, in order.

    Args:
        family: of the checkpoint.
        names: of all its tensors.
    """
    if family == "sd2" and _any_starts(names, _SGM_OPEN_CLIP):
        return (_SGM_OPEN_CLIP,)
    return _TEXT_PREFIXES[family]


def _any_starts(names: Iterable[str], start: str) -> bool:
    return any(name.startswith(start) for name in names)


def _family(header: SafetensorsHeader) -> Family:
    for family, prefixes in _TEXT_PREFIXES.items():
        # The last prefix: SDXL's second encoder tells it from the refiner, which has only one.
        if _any_starts(header.tensors, prefixes[-1]):
            return family
    if _any_starts(header.tensors, _SGM_OPEN_CLIP):
        if _any_starts(header.tensors, _SIZE_CONDITIONING):
            raise ValueError("it is an SDXL refiner, which cannot paint on its own")
        return "sd2"
    raise ValueError("it holds a UNet but no text encoder (a pruned file)")


def _prediction_type(header: SafetensorsHeader) -> str | None:
    if "v_pred" in header.tensors:
        return "v_prediction"
    stated = header.metadata.get("modelspec.prediction_type", "").lower()
    if stated in ("v", "v_prediction"):
        return "v_prediction"
    if stated in ("epsilon", "eps"):
        return "epsilon"
    architecture = header.metadata.get("modelspec.architecture", "")
    if architecture.startswith("stable-diffusion-v2-768-v"):
        return "v_prediction"
    if architecture.startswith(("stable-diffusion-v2-512", "stable-diffusion-v2-inpainting")):
        return "epsilon"
    return None


def _header_family(header: SafetensorsHeader) -> Family | None:
    families: dict[str, Family] = {
        "stable-diffusion-v1": "sd1",
        "stable-diffusion-v2": "sd2",
        "stable-diffusion-xl": "sdxl",
    }
    architecture = header.metadata.get("modelspec.architecture", "")
    for start, family in families.items():
        if architecture.startswith(start):
            return family
    return None


def _what_instead(header: SafetensorsHeader) -> str:
    for start, kind in _OTHER_KINDS.items():
        if _any_starts(header.tensors, start):
            return f"it is no checkpoint but {kind}"
    if not header.tensors:
        return "it holds no tensors"
    first = next(iter(header.tensors))
    return f"it is no SD 1, SD 2 or SDXL checkpoint (its first tensor is {first[:100]!r})"
