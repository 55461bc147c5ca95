"""What a plan must know of a model that runs through a pipeline of diffusers. Imports no torch.

Families whose denoiser is no UNet come as folders alone; model_index.json names their class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from engine.checkpoint_info import read_config
from engine.errors import MislabelledModel, WeightsUnavailable

# Stem of the class in model_index.json -> the class that inpaints with the same components.
_INPAINT_CLASSES: Mapping[str, str] = {
    "StableDiffusion3": "StableDiffusion3InpaintPipeline",
    "Flux": "FluxInpaintPipeline",
    "FluxFill": "FluxFillPipeline",
    "QwenImage": "QwenImageInpaintPipeline",
    "ZImage": "ZImageInpaintPipeline",
}
_TASKS = ("InpaintPipeline", "Img2ImgPipeline", "Pipeline")
# A component of another library would be code out of the model's own folder.
LIBRARIES = ("diffusers", "transformers")
SCHEDULER_CLASS = "FlowMatchEulerDiscreteScheduler"
# All of them turn 2x2 latent cells into one token.
_PATCH_CELLS = 2


class Guidance(StrEnum):
    """What a guidance scale means to a model."""

    CLASSIFIER_FREE = "classifier_free"  # away from the negative prompt
    DISTILLED = "distilled"  # a number the model is told; there is no negative prompt
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PipelineInfo:
    """Facts of a pipeline model.

    Attributes:
        inpaint_class: the class of diffusers that runs it.
        components: by name, library and class; None where the model goes without.
        guidance: what a guidance scale means to it.
        size_multiple_px: what the sides of a canvas must be multiples of.
        mask_cell_px: side of the square that one value of its mask stands for.
        config_folder: the model's own.
    """

    inpaint_class: str
    components: Mapping[str, tuple[str, str] | None]
    guidance: Guidance
    size_multiple_px: int
    mask_cell_px: int
    config_folder: Path

    @property
    def family(self) -> Literal["pipeline"]:
        """The one family of all models that are no UNet."""
        return "pipeline"


@lru_cache(maxsize=256)
def is_pipeline_folder(path: Path) -> bool:
    """Whether `path` is a diffusers folder whose denoiser is no UNet.

    Raises:
        WeightsUnavailable: its model_index.json cannot be read.
    """
    if not path.is_dir():
        return False
    index = read_config(path / "model_index.json")
    return "_class_name" in index and "unet" not in index


@lru_cache(maxsize=256)
def read_pipeline_info(path: Path) -> PipelineInfo:
    """Reads the configs of a diffusers folder.

    Raises:
        MislabelledModel: diffusers cannot inpaint with it, or not in the way that is needed here.
        WeightsUnavailable: a config is missing or unusable; the message names the file.
    """
    index_file = path / "model_index.json"
    index = read_config(index_file)
    inpaint_class = _inpaint_class(index["_class_name"])
    if inpaint_class is None:
        known = ", ".join(f"{stem}Pipeline" for stem in _INPAINT_CLASSES)
        raise MislabelledModel(
            f"{index_file}: there is no inpainting with {index['_class_name']!r} here, only with"
            f" {known} and UNet models"
        )
    transformer = read_config(path / "transformer" / "config.json")
    vae = read_config(path / "vae" / "config.json")
    try:
        components = _components(index)
        factor = _vae_scale_factor(vae)
        is_distilled = bool(transformer.get("guidance_embeds", False))
    except (KeyError, TypeError, ValueError) as exc:
        raise WeightsUnavailable(f"{path}: unusable config: {exc!r}") from exc
    _check_components(index_file, components)
    return PipelineInfo(
        inpaint_class=inpaint_class,
        components=components,
        guidance=_guidance(inpaint_class, is_distilled=is_distilled),
        size_multiple_px=factor * _PATCH_CELLS,
        mask_cell_px=1 if inpaint_class == "FluxFillPipeline" else factor,
        config_folder=path,
    )


def _inpaint_class(class_name: object) -> str | None:
    for task in _TASKS:
        if isinstance(class_name, str) and class_name.endswith(task):
            return _INPAINT_CLASSES.get(class_name.removesuffix(task))
    return None


def _components(index: Mapping[str, Any]) -> dict[str, tuple[str, str] | None]:
    components: dict[str, tuple[str, str] | None] = {}
    for name, value in index.items():
        if isinstance(value, list):
            library, class_name = value
            components[name] = None if library is None else (str(library), str(class_name))
    return components


def _check_components(index_file: Path, components: Mapping[str, tuple[str, str] | None]) -> None:
    for name, component in components.items():
        if component is not None and component[0] not in LIBRARIES:
            raise MislabelledModel(
                f"{index_file}: {name} is of the library {component[0]!r}, not of"
                f" {' or '.join(LIBRARIES)}"
            )
    scheduler = components.get("scheduler")
    if scheduler is None or scheduler[1] != SCHEDULER_CLASS:
        stated = "none" if scheduler is None else scheduler[1]
        raise MislabelledModel(f"{index_file}: the scheduler is {stated}, not {SCHEDULER_CLASS}")


def _vae_scale_factor(vae: Mapping[str, Any]) -> int:
    """Pixels per latent cell and side."""
    if "temperal_downsample" in vae:  # the spelling of Qwen-Image's
        return int(2 ** len(vae["temperal_downsample"]))
    return int(2 ** (len(vae["block_out_channels"]) - 1))


def _guidance(inpaint_class: str, *, is_distilled: bool) -> Guidance:
    if is_distilled:
        return Guidance.DISTILLED
    return Guidance.NONE if inpaint_class.startswith("Flux") else Guidance.CLASSIFIER_FREE
