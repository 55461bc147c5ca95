"""Labelled contact sheets.

The first axis runs across, the second down; each value of the third has a sheet of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from api.sweeps.grid import Coordinates, Page, pages_of, value_labels
from engine.sweep import Axis

# Coordinates of a point -> its picture, or what to write in its place.
Picture = Callable[[Coordinates], Image.Image | str]

_MARGIN_PX = 16
_GAP_PX = 6
_MAX_CELL_PX, _MIN_CELL_PX = 320, 96
_MAX_SHEET_PX = 6000
_MAX_TEXT_PX = 320  # a longer label is cut
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
        column_px: width of a column, the picture in its middle: more where labels need it.
        left_px: where the first column begins, behind the row labels.
        top_px: where the first row begins, below the column labels.
        label_font: of values.
        name_font: of axes' names.
    """

    cell: tuple[int, int]
    column_px: int
    left_px: int
    top_px: int
    label_font: ImageFont.FreeTypeFont
    name_font: ImageFont.FreeTypeFont

    @property
    def baseline_px(self) -> int:
        """Of the column labels."""
        return self.top_px - 10

    def corner(self, column: int, row: int) -> tuple[int, int]:
        """Of a picture."""
        x = self.left_px + column * (self.column_px + _GAP_PX)
        return x + (self.column_px - self.cell[0]) // 2, self.top_px + row * (
            self.cell[1] + _GAP_PX
        )


def contact_sheets(
    axes: Sequence[Axis], size: tuple[int, int], picture: Picture
) -> Iterator[Image.Image]:
    """One sheet, or one for each value of the third axis, drawn as they are taken.

    Args:
        axes: one to three.
        size: width and height of the pictures.
        picture: opened one by one, so that not all are in memory.

    Yields:
        Mode RGB each.
    """
    for page in pages_of(axes):
        yield _sheet(axes, size, picture, page)


def _sheet(
    axes: Sequence[Axis], size: tuple[int, int], picture: Picture, page: Page
) -> Image.Image:
    layout = _layout(axes, size, has_heading=bool(page.heading))
    width = layout.left_px + len(axes[0].values) * (layout.column_px + _GAP_PX)
    width = max(width, min(_MAX_TEXT_PX, _width(page.heading, layout.label_font) + _MARGIN_PX))
    height = layout.corner(0, len(page.rows))[1]
    size_px = (width - _GAP_PX + _MARGIN_PX, height - _GAP_PX + _MARGIN_PX)
    sheet = Image.new("RGB", size_px, _PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_column_labels(draw, axes[0], layout, page.heading, sheet.width)
    if len(axes) > 1:
        _draw_row_labels(draw, axes[1], layout)
    for row, points in enumerate(each.points for each in page.rows):
        for column, point in enumerate(points):
            _draw_cell(sheet, draw, layout, layout.corner(column, row), picture(point))
    return sheet


def _layout(axes: Sequence[Axis], size: tuple[int, int], *, has_heading: bool) -> _Layout:
    columns = len(axes[0].values)
    side = min(_MAX_CELL_PX, max(_MIN_CELL_PX, _MAX_SHEET_PX // columns))
    scale = side / max(size)
    cell = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    font_px = max(15, min(24, side // 12))
    label_font, name_font = _font(font_px + 2), _font(font_px)
    widths = [
        max(
            _width(axis.name, name_font), *(_width(text, label_font) for text in value_labels(axis))
        )
        for axis in axes
    ]
    left = _MARGIN_PX
    if len(axes) > 1:
        left += min(widths[1], _MAX_TEXT_PX) + 2 * _GAP_PX
    return _Layout(
        cell=cell,
        column_px=max(cell[0], min(widths[0], _MAX_TEXT_PX)),
        left_px=left,
        top_px=_MARGIN_PX + (3 if has_heading else 2) * (font_px + 12),
        label_font=label_font,
        name_font=name_font,
    )


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """Pillow's own, which every machine has; it knows Latin letters alone."""
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels bring FreeType"
    return font


def _draw_column_labels(
    draw: ImageDraw.ImageDraw, axis: Axis, layout: _Layout, heading: str, width: int
) -> None:
    text = _fitted(heading, layout.label_font, width - 2 * _MARGIN_PX)
    draw.text((_MARGIN_PX, _MARGIN_PX), text, _INK, layout.label_font, "lt")
    middle = (layout.left_px + width - _MARGIN_PX) // 2
    line_px = round(layout.label_font.size) + 10
    name = _fitted(axis.name, layout.name_font, width - _MARGIN_PX - layout.left_px)
    draw.text((middle, layout.baseline_px - line_px), name, _FAINT_INK, layout.name_font, "ms")
    for column, label in enumerate(value_labels(axis)):
        x = layout.corner(column, 0)[0] + layout.cell[0] // 2
        text = _fitted(label, layout.label_font, layout.column_px)
        draw.text((x, layout.baseline_px), text, _INK, layout.label_font, "ms")


def _draw_row_labels(draw: ImageDraw.ImageDraw, axis: Axis, layout: _Layout) -> None:
    right = layout.left_px - 2 * _GAP_PX
    name = _fitted(axis.name, layout.name_font, right - _MARGIN_PX)
    draw.text((right, layout.baseline_px), name, _FAINT_INK, layout.name_font, "rs")
    for row, label in enumerate(value_labels(axis)):
        y = layout.corner(0, row)[1] + layout.cell[1] // 2
        text = _fitted(label, layout.label_font, right - _MARGIN_PX)
        draw.text((right, y), text, _INK, layout.label_font, "rm")


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


def _width(text: str, font: ImageFont.FreeTypeFont) -> int:
    return math.ceil(font.getlength(text))


def _fitted(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> str:
    """`text` on one line, cut where it is wider than `width_px`."""
    text = " ".join(text.split())
    if _width(text, font) <= width_px:
        return text
    while text and _width(f"{text}...", font) > width_px:
        text = text[:-1]
    return f"{text}..."
