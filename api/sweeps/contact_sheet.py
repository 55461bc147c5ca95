"""Labelled contact sheets.

The first axis runs across, the second down; each value of the third has a sheet of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from engine.sweep import Axis

# Coordinates of a point -> its picture, or what to write in its place.
Picture = Callable[[tuple[int, ...]], Image.Image | str]

_MARGIN_PX = 16
_GAP_PX = 6
_MAX_CELL_PX, _MIN_CELL_PX = 320, 96
_MAX_SHEET_PX = 6000
_PAPER, _INK, _FAINT_INK, _NO_PICTURE = (
    (250, 250, 248),
    (30, 30, 30),
    (110, 110, 110),
    (226, 226, 222),
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Measures of a sheet.

    Attributes:
        cell: width and height of a picture.
        left_px: where the first column begins, behind the row labels.
        top_px: where the first row begins, below the column labels.
        label_font: of values.
        name_font: of axes' names.
    """

    cell: tuple[int, int]
    left_px: int
    top_px: int
    label_font: ImageFont.FreeTypeFont
    name_font: ImageFont.FreeTypeFont

    def corner(self, column: int, row: int) -> tuple[int, int]:
        """Of a cell."""
        x = self.left_px + column * (self.cell[0] + _GAP_PX)
        return x, self.top_px + row * (self.cell[1] + _GAP_PX)


def contact_sheets(
    axes: Sequence[Axis], size: tuple[int, int], picture: Picture
) -> list[Image.Image]:
    """One sheet, or one for each value of the third axis.

    Args:
        axes: one to three.
        size: width and height of the pictures.
        picture: opened one by one, so that not all are in memory.

    Returns:
        Mode RGB each.
    """
    pages = [(page,) for page in range(len(axes[2].values))] if len(axes) == 3 else [()]
    return [_sheet(axes, size, picture, page) for page in pages]


def _sheet(
    axes: Sequence[Axis], size: tuple[int, int], picture: Picture, page: tuple[int, ...]
) -> Image.Image:
    heading = f"{axes[2].name}: {axes[2].label(page[0])}" if page else ""
    layout = _layout(axes, size, has_heading=bool(heading))
    columns = len(axes[0].values)
    rows = len(axes[1].values) if len(axes) > 1 else 1
    right, bottom = layout.corner(columns, rows)
    sheet = Image.new("RGB", (right - _GAP_PX + _MARGIN_PX, bottom - _GAP_PX + _MARGIN_PX), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_labels(draw, axes, layout, heading, sheet.width)
    for column in range(columns):
        for row in range(rows):
            place = (column, row)[: len(axes)]
            _draw_cell(sheet, draw, layout, layout.corner(column, row), picture((*place, *page)))
    return sheet


def _layout(axes: Sequence[Axis], size: tuple[int, int], *, has_heading: bool) -> _Layout:
    columns = len(axes[0].values)
    side = min(_MAX_CELL_PX, max(_MIN_CELL_PX, _MAX_SHEET_PX // columns))
    scale = side / max(size)
    cell = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    font_px = max(15, min(24, side // 12))
    label_font, name_font = _font(font_px + 2), _font(font_px)
    left = _MARGIN_PX
    if len(axes) > 1:
        labels = [axes[1].label(at) for at in range(len(axes[1].values))]
        widths = [label_font.getlength(text) for text in labels]
        widths.append(name_font.getlength(axes[1].name))
        left += min(round(max(widths)), side) + 2 * _GAP_PX
    lines = 3 if has_heading else 2
    return _Layout(cell, left, _MARGIN_PX + lines * (font_px + 12), label_font, name_font)


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """Pillow's own, which every machine has; it knows Latin letters alone."""
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels bring FreeType"
    return font


def _draw_labels(
    draw: ImageDraw.ImageDraw, axes: Sequence[Axis], layout: _Layout, heading: str, width: int
) -> None:
    middle = (layout.left_px + width - _MARGIN_PX) // 2
    room = width - 2 * _MARGIN_PX
    if heading:
        text = _fitted(heading, layout.label_font, room)
        draw.text((_MARGIN_PX, _MARGIN_PX), text, _INK, layout.label_font, "lt")
    baseline = layout.top_px - 10
    line_px = round(layout.label_font.size) + 10
    name = _fitted(axes[0].name, layout.name_font, width - _MARGIN_PX - layout.left_px)
    draw.text((middle, baseline - line_px), name, _FAINT_INK, layout.name_font, "ms")
    for column in range(len(axes[0].values)):
        x = layout.corner(column, 0)[0] + layout.cell[0] // 2
        text = _fitted(axes[0].label(column), layout.label_font, layout.cell[0])
        draw.text((x, baseline), text, _INK, layout.label_font, "ms")
    if len(axes) == 1:
        return
    room = layout.left_px - _MARGIN_PX - _GAP_PX
    name = _fitted(axes[1].name, layout.name_font, room)
    draw.text((_MARGIN_PX, baseline), name, _FAINT_INK, layout.name_font, "ls")
    for row in range(len(axes[1].values)):
        y = layout.corner(0, row)[1] + layout.cell[1] // 2
        text = _fitted(axes[1].label(row), layout.label_font, room)
        draw.text((layout.left_px - 2 * _GAP_PX, y), text, _INK, layout.label_font, "rm")


def _draw_cell(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    layout: _Layout,
    corner: tuple[int, int],
    content: Image.Image | str,
) -> None:
    width, height = layout.cell
    if isinstance(content, Image.Image):
        sheet.paste(content.resize(layout.cell, Image.Resampling.LANCZOS), corner)
        return
    x, y = corner
    draw.rectangle((x, y, x + width - 1, y + height - 1), _NO_PICTURE)
    text = _fitted(content, layout.name_font, width - 8)
    draw.text((x + width // 2, y + height // 2), text, _FAINT_INK, layout.name_font, "mm")


def _fitted(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> str:
    """`text` on one line, cut where it is wider than `width_px`."""
    text = " ".join(text.split())
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength(f"{text}...") > width_px:
        text = text[:-1]
    return f"{text}..."
