"""What a plan must know of a checkpoint, read from configs and headers: no weights, no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.errors import MislabelledModel, WeightsUnavailable
from engine.families import Family
from engine.safetensors_header import is_pickle, read_safetensors_header
from engine.schedule import NoiseSchedule, read_noise_schedule
from engine.single_file import SingleFile, detect_single_file

CONFIGS = Path(__file__).resolve().parent / "configs"

# The families' UNets by the width of the prompt embeddings they read.
_FAMILY_BY_WIDTH: dict[int, Family] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}


@dataclass(frozen=True, slots=True)
class Declared:
    """What models.yaml says about a checkpoint; None: whatever its files say.

    Attributes:
        family: of the checkpoint.
        in_channels: of its UNet.
        prediction_type: "epsilon" or "v_prediction".
        rescale_betas_zero_snr: whether it was trained to zero terminal SNR.
        timestep_spacing: "leading", "linspace" or "trailing".
        config: diffusers folder with the configs of a single file; None: its family's own.
        allow_pickle: whether torch's weights-only loader may read a pickled file.
    """

    family: Family | None = None
    in_channels: int | None = None
    prediction_type: str | None = None
    rescale_betas_zero_snr: bool | None = None
    timestep_spacing: str | None = None
    config: Path | None = None
    allow_pickle: bool = False


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """Facts of a checkpoint, a diffusers folder or a single file.

    Attributes:
        unet_in_channels: 9 for inpainting checkpoints, 4 for ordinary ones.
        vae_scale_factor: pixels per latent cell and side.
        text_layers: hidden layers of the text encoder, of the shallowest where there are two; the
            highest ClipSkip.
        noise_schedule: training betas and what the samplers need beside them.
        family: sd1, sd2 or sdxl.
        config_folder: where the configs of its components lie; the checkpoint itself for a folder.
        has_vae: False for single files that were saved without theirs.
    """

    unet_in_channels: int
    vae_scale_factor: int
    text_layers: int
    noise_schedule: NoiseSchedule
    family: Family
    config_folder: Path
    has_vae: bool = True

    @property
    def size_multiple_px(self) -> int:
        """What the sides of a canvas must be multiples of."""
        return self.vae_scale_factor

    @property
    def mask_cell_px(self) -> int:
        """Side of the square that one value of its mask stands for."""
        return self.vae_scale_factor


@lru_cache(maxsize=256)
def read_checkpoint_info(path: Path, declared: Declared = Declared()) -> CheckpointInfo:
    """Reads the configs of a diffusers folder, or the header of a single file.

    Args:
        path: folder or file.
        declared: what models.yaml adds. It fills in what the files leave open and must agree with
            what they state.

    Raises:
        MislabelledModel: files and models.yaml contradict each other; the message names both.
        WeightsUnavailable: a config or header is missing or unusable; the message names the file.
    """
    return _of_folder(path, declared) if path.is_dir() else _of_file(path, declared)


def read_config(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        WeightsUnavailable: there is none in `file`.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise WeightsUnavailable(f"{file}: cannot be read ({exc.strerror})") from exc
    except (ValueError, RecursionError) as exc:
        raise WeightsUnavailable(f"{file}: not valid JSON") from exc
    if not isinstance(content, dict):
        raise WeightsUnavailable(f"{file}: not a JSON object")
    return content


def text_encoder_folders(family: Family) -> tuple[str, ...]:
    """Subfolders of a family's text encoders, in order."""
    return ("text_encoder", "text_encoder_2") if family == "sdxl" else ("text_encoder",)


def _of_folder(path: Path, declared: Declared) -> CheckpointInfo:
    unet_file = path / "unet" / "config.json"
    unet = read_config(unet_file)
    scheduler = read_config(path / "scheduler" / "scheduler_config.json")
    if (path / "text_encoder_2").is_dir():
        family: Family | None = "sdxl"
    else:
        width = unet.get("cross_attention_dim")
        # A width of its own belongs to a model of its own kind, such as the embedded one.
        family = _FAMILY_BY_WIDTH.get(width) if isinstance(width, int) else None
    stated = {
        "family": family,
        "in_channels": unet.get("in_channels"),
        "prediction_type": scheduler.get("prediction_type"),
        "rescale_betas_zero_snr": scheduler.get("rescale_betas_zero_snr"),
        "timestep_spacing": scheduler.get("timestep_spacing"),
    }
    facts = _agreed(path, stated, declared)
    return _info(path, facts["family"] or "sd1", path, facts, _told(scheduler, facts))


def _of_file(path: Path, declared: Declared) -> CheckpointInfo:
    if is_pickle(path):
        return _of_pickle(path, declared)
    header = read_safetensors_header(path)
    try:
        found = detect_single_file(header)
    except ValueError as exc:
        raise WeightsUnavailable(f"{path}: {exc}") from exc
    stated = {
        "family": found.family,
        "in_channels": found.in_channels,
        "prediction_type": found.prediction_type,
        "rescale_betas_zero_snr": found.zero_snr,
        "timestep_spacing": None,
    }
    facts = _agreed(path, stated, declared)
    _check_own_label(path, found, declared)
    return _file_info(path, declared, facts, has_vae=found.has_vae)


def _of_pickle(path: Path, declared: Declared) -> CheckpointInfo:
    """A pickle is opened by nothing but torch's weights-only loader, so not for planning."""
    if not declared.allow_pickle:
        raise WeightsUnavailable(
            f"{path}: is pickled, and a pickle can run code: convert it to safetensors, or set"
            " allow_pickle: true on its entry"
        )
    for key in ("family", "in_channels"):
        if getattr(declared, key) is None:
            raise MislabelledModel(f"{path}: a pickled file needs {key} in models.yaml")
    return _file_info(path, declared, asdict(declared), has_vae=True)


def _file_info(
    path: Path, declared: Declared, facts: Mapping[str, Any], *, has_vae: bool
) -> CheckpointInfo:
    family = facts["family"]
    config_folder = declared.config or CONFIGS / family
    if facts["prediction_type"] is None and family == "sd2" and declared.config is None:
        # Both kinds are common, and nothing in the tensors tells them apart.
        raise MislabelledModel(
            f"{path}: an SD 2 file without metadata: set prediction_type to epsilon (the 512 pixel"
            " models) or v_prediction (the 768 pixel ones) in models.yaml"
        )
    scheduler = read_config(config_folder / "scheduler" / "scheduler_config.json")
    return _info(path, family, config_folder, facts, _told(scheduler, facts), has_vae=has_vae)


def _told(scheduler: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The scheduler's config with the facts in it."""
    told = dict(scheduler) | {
        key: facts[key]
        for key in ("prediction_type", "rescale_betas_zero_snr", "timestep_spacing")
        if facts[key] is not None
    }
    if told.get("rescale_betas_zero_snr") and facts["timestep_spacing"] is None:
        # Other spacings never visit the step of pure noise (arXiv 2305.08891, section 3.3).
        told["timestep_spacing"] = "trailing"
    return told


def _info(
    path: Path,
    family: Family,
    config_folder: Path,
    facts: Mapping[str, Any],
    scheduler: Mapping[str, Any],
    *,
    has_vae: bool = True,
) -> CheckpointInfo:
    vae = read_config(config_folder / "vae" / "config.json")
    encoders = [
        read_config(config_folder / folder / "config.json")
        for folder in text_encoder_folders(family)
    ]
    try:
        in_channels = int(facts["in_channels"])
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        layers = min(int(config["num_hidden_layers"]) for config in encoders)
        schedule = read_noise_schedule(scheduler)
    except (KeyError, TypeError, ValueError) as exc:
        raise WeightsUnavailable(f"{path}: unusable config: {exc!r}") from exc
    if in_channels not in (4, 9):
        where = path / "unet" / "config.json" if path.is_dir() else path
        raise WeightsUnavailable(f"{where}: in_channels is {in_channels}, not 4 or 9")
    return CheckpointInfo(in_channels, factor, layers, schedule, family, config_folder, has_vae)


def _agreed(path: Path, stated: Mapping[str, Any], declared: Declared) -> dict[str, Any]:
    """What the files state, with gaps filled from models.yaml.

    Raises:
        MislabelledModel: they contradict each other.
    """
    facts = dict(stated)
    for key, ours in stated.items():
        theirs = getattr(declared, key)
        if None not in (ours, theirs) and ours != theirs:
            raise MislabelledModel(f"{path}: {key} is {ours}, models.yaml says {theirs}")
        if ours is None:
            facts[key] = theirs
    return facts


def _check_own_label(path: Path, found: SingleFile, declared: Declared) -> None:
    """A file's metadata must name the family of its tensors, or models.yaml must settle it.

    Raises:
        WeightsUnavailable: neither is so.
    """
    label = found.header_family
    if label is not None and label != found.family and declared.family is None:
        raise WeightsUnavailable(
            f"{path}: its metadata say {label}, its tensors are {found.family}: set family to"
            f" {found.family} in models.yaml to load it as that"
        )
