"""Pictures that help to choose: transparency made visible, and where the cut-out will stand."""

from __future__ import annotations

import numpy as np
from PIL import Image

from api.protocol import RESIZE_MODES, ResizeModeName
from engine.resize import resize_foreground

LONGEST_SIDE_PX = 320
_CELL_PX = 12
_LIGHT, _DARK = 250, 218


def checkerboard(width_px: int, height_px: int) -> Image.Image:
    """The pattern that stands for "nothing here"; mode RGBA, opaque."""
    rows, columns = np.ogrid[:height_px, :width_px]
    is_dark = (rows // _CELL_PX + columns // _CELL_PX) % 2 == 1
    return Image.fromarray(np.where(is_dark, _DARK, _LIGHT).astype(np.uint8)).convert("RGBA")


def over_checkerboard(foreground: Image.Image) -> Image.Image:
    """An RGBA image with its transparency made visible; mode RGB."""
    board = checkerboard(*foreground.size)
    return Image.alpha_composite(board, foreground).convert("RGB")


def placed(
    foreground: Image.Image, width_px: int, height_px: int, mode: ResizeModeName
) -> Image.Image:
    """The cut-out on the canvas as a request places it, over a checkerboard; mode RGB."""
    return over_checkerboard(resize_foreground(foreground, width_px, height_px, RESIZE_MODES[mode]))


def placements(
    foreground: Image.Image, width_px: int, height_px: int
) -> dict[ResizeModeName, Image.Image]:
    """The cut-out on a small copy of the canvas in each resize mode; mode RGB."""
    k = min(1.0, LONGEST_SIDE_PX / max(width_px, height_px))
    small = max(1, round(width_px * k)), max(1, round(height_px * k))
    return {mode: placed(foreground, *small, mode) for mode in ResizeModeName}
