"""Which sizes a canvas is painted at. Imports no torch.

A UNet paints well about the area of the pictures it was trained on: far above it repeats its
subject over the canvas, far below it finds no room for one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.checkpoint_info import CheckpointInfo
from engine.pipeline_info import PipelineInfo
from engine.registry import MainModel
from engine.tile_grid import fewest_tiles_side

# UNets halve their latents up to three times; a tile that stays whole in this needs no rounding.
_TILE_MULTIPLE_CELLS = 8
# The largest tile in native sides where models.yaml does not say. A third of a tile's cells are
# painted twice or more, so that few large tiles are less work than many small ones, until
# attention over a tile takes more than that saves.
_TILE_SIDES = 1.5


@dataclass(frozen=True, slots=True)
class PassSize:
    """What a pass paints on.

    Attributes:
        width_px: of its canvas.
        height_px: likewise.
        tile_px: width and height of the tiles it is painted by; None: all at once.
    """

    width_px: int
    height_px: int
    tile_px: tuple[int, int] | None = None


def pass_sizes(
    width_px: int,
    height_px: int,
    strength: float,
    model: MainModel,
    info: CheckpointInfo | PipelineInfo,
) -> tuple[PassSize, ...]:
    """One pass, or a composing and a refining one.

    Args:
        width_px: of the canvas, multiple of `info.size_multiple_px`.
        height_px: likewise.
        strength: 0..1; a pass at or below the refining strength keeps the composition of the
            reference, and needs none of its own.
        model: tells the thresholds.
        info: of the model.
    """
    native_area = model.native_size_px**2
    area = width_px * height_px
    if area < model.min_area_ratio * native_area:
        return (_native_size(width_px, height_px, model, info),)
    whole = PassSize(width_px, height_px)
    if area <= model.two_pass_area_ratio * native_area:
        return (whole,)
    if isinstance(info, CheckpointInfo):
        whole = _tiled(width_px, height_px, model, info.vae_scale_factor)
    if strength <= model.refine_strength:
        return (whole,)
    return (_native_size(width_px, height_px, model, info), whole)


def _native_size(
    width_px: int, height_px: int, model: MainModel, info: CheckpointInfo | PipelineInfo
) -> PassSize:
    """The canvas brought to about the native area, its ratio kept as the multiple allows."""
    multiple = info.size_multiple_px
    scale = model.native_size_px / math.sqrt(width_px * height_px)
    width, height = (
        max(multiple, round(side * scale / multiple) * multiple) for side in (width_px, height_px)
    )
    return PassSize(width, height)


def _tiled(width_px: int, height_px: int, model: MainModel, cell_px: int) -> PassSize:
    """The smallest tiles that cover the canvas in as few as the largest do."""
    largest = model.tile_size_px or round(_TILE_SIDES * model.native_size_px)
    cells = max(_TILE_MULTIPLE_CELLS, largest // cell_px)
    width, height = (
        cell_px * fewest_tiles_side(side // cell_px, cells, _TILE_MULTIPLE_CELLS)
        for side in (width_px, height_px)
    )
    is_whole = (width, height) == (width_px, height_px)
    return PassSize(width_px, height_px, None if is_whole else (width, height))
