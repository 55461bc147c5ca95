"""Labelled contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

CELL_PX = (480, 320)
MARGIN_PX = 16
LABEL_PX = 48
PAPER = (250, 250, 248)
INK = (40, 40, 40)
FAINT_INK = (130, 130, 130)


@dataclass(frozen=True)
class Tile:
    """One picture and the two lines under it."""

    path: Path
    label: str
    detail: str


def contact_sheet(tiles: Sequence[Tile], columns: int = 2) -> Image.Image:
    """All pictures in rows, each fitted into an equal cell above its label.

    Args:
        tiles: at least one.
        columns: pictures in a row.

    Returns:
        Mode RGB.
    """
    step_x, step_y = CELL_PX[0] + MARGIN_PX, CELL_PX[1] + LABEL_PX + MARGIN_PX
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * step_x + MARGIN_PX, rows * step_y + MARGIN_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, tile in enumerate(tiles):
        x = MARGIN_PX + index % columns * step_x
        y = MARGIN_PX + index // columns * step_y
        with Image.open(tile.path) as picture:
            fitted = ImageOps.contain(picture.convert("RGB"), CELL_PX, Image.Resampling.LANCZOS)
        offset = ((CELL_PX[0] - fitted.width) // 2, (CELL_PX[1] - fitted.height) // 2)
        sheet.paste(fitted, (x + offset[0], y + offset[1]))
        baseline = y + CELL_PX[1] + 6
        draw.text((x, baseline), tile.label, fill=INK, font=ImageFont.load_default(17))
        draw.text((x, baseline + 21), tile.detail, fill=FAINT_INK, font=ImageFont.load_default(14))
    return sheet
