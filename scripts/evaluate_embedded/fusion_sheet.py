"""A contact sheet of references and of what was painted without and with DeepFusion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scripts.contact_sheet import FAINT_INK, INK, PAPER
from scripts.evaluate_embedded.pictures import Pixels

_CELL_PX = 160
_GAP_PX = 4
_HEAD_PX = 44


def write_fusion_sheet(
    path: Path, rows: list[tuple[Pixels, list[Pixels]]], strengths: tuple[float, ...]
) -> None:
    """Writes a JPEG.

    Args:
        path: of the file.
        rows: a reference and, for each strength, a picture without and one with DeepFusion.
        strengths: of the reference, as the wire counts.
    """
    step = _CELL_PX + _GAP_PX
    columns = 1 + 2 * len(strengths)
    sheet = Image.new("RGB", (columns * step + _GAP_PX, _HEAD_PX + len(rows) * step), PAPER)
    draw = ImageDraw.Draw(sheet)
    heads = [("reference", "")]
    for strength in strengths:
        heads += [(f"ReferStrength {strength:g}", "without"), ("", "with DeepFusion")]
    for column, (upper, lower) in enumerate(heads):
        x = _GAP_PX + column * step
        draw.text((x, 4), upper, fill=INK, font=ImageFont.load_default(15))
        draw.text((x, 23), lower, fill=FAINT_INK, font=ImageFont.load_default(14))
    for row, (reference, pictures) in enumerate(rows):
        for column, pixels in enumerate([reference, *pictures]):
            cell = Image.fromarray(np.ascontiguousarray(pixels))
            cell = cell.resize((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS)
            sheet.paste(cell, (_GAP_PX + column * step, _HEAD_PX + row * step))
    sheet.save(path, quality=88)
