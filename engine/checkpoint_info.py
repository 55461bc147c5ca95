"""What a plan must know of a checkpoint, read from its JSON files alone: no weights, no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.errors import WeightsUnavailable
from engine.schedule import NoiseSchedule, read_noise_schedule


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """Shape facts of a diffusers folder.

    Attributes:
        unet_in_channels: 9 for inpainting checkpoints, 4 for ordinary ones.
        vae_scale_factor: pixels per latent cell and side.
        text_layers: hidden layers of the text encoder; the highest ClipSkip.
        noise_schedule: training betas and what the samplers need beside them.
    """

    unet_in_channels: int
    vae_scale_factor: int
    text_layers: int
    noise_schedule: NoiseSchedule


@lru_cache(maxsize=64)
def read_checkpoint_info(path: Path) -> CheckpointInfo:
    """Reads the configs of the diffusers folder `path`.

    Raises:
        WeightsUnavailable: a config is missing or unusable; the message names the file.
    """
    unet = _read_json(path / "unet" / "config.json")
    vae = _read_json(path / "vae" / "config.json")
    text_encoder = _read_json(path / "text_encoder" / "config.json")
    scheduler = _read_json(path / "scheduler" / "scheduler_config.json")
    try:
        in_channels = int(unet["in_channels"])
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        layers = int(text_encoder["num_hidden_layers"])
        schedule = read_noise_schedule(scheduler)
    except (KeyError, TypeError, ValueError) as exc:
        raise WeightsUnavailable(f"{path}: unusable config: {exc!r}") from exc
    if in_channels not in (4, 9):
        raise WeightsUnavailable(
            f"{path / 'unet' / 'config.json'}: in_channels is {in_channels}, not 4 or 9"
        )
    return CheckpointInfo(in_channels, factor, layers, schedule)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise WeightsUnavailable(f"{path}: cannot be read ({exc.strerror})") from exc
    except ValueError as exc:
        raise WeightsUnavailable(f"{path}: not valid JSON") from exc
    if not isinstance(content, dict):
        raise WeightsUnavailable(f"{path}: not a JSON object")
    return content
