"""Bringing an image to the canvas: the three resize modes, and padding to the VAE factor.

The scale is `k = max(W/w, H/h)` for CROP_AND_RESIZE and `min(W/w, H/h)` for RESIZE_AND_FILL; the
content measures `max(1, round(side * k))` and stands at `(canvas - content) // 2`, a negative
offset being cropped away. Content of the source's own size is copied, never resampled.

Resampling is Pillow's BICUBIC on the whole RGBA image (Pillow premultiplies inside); LANCZOS was
measured to lower the alpha inside opaque areas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from engine.job import ResizeMode

_RESAMPLING = Image.Resampling.BICUBIC
_MAX_WHOLE_CONTENT_PX = 2**25  # 128 MiB of RGBA; a 2560x2560 canvas and a 5:1 picture are below it
_FILTER_RADIUS = 2  # of BICUBIC, in samples of the coarser grid


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the resized content lies on the canvas; all in canvas pixels.

    Attributes:
        width_px: width of the whole content, at least 1; may exceed the canvas.
        height_px: its height, likewise.
        left_px: canvas x of the content's left edge; negative where it is cropped.
        top_px: canvas y of its top edge, likewise.
    """

    width_px: int
    height_px: int
    left_px: int
    top_px: int


def place(
    source_size: tuple[int, int], width_px: int, height_px: int, mode: ResizeMode
) -> Placement:
    """The content's size and position on a canvas of `width_px` x `height_px`."""
    source_width, source_height = source_size
    if mode is ResizeMode.JUST_RESIZE:
        return Placement(width_px, height_px, 0, 0)
    cover_or_fit = max if mode is ResizeMode.CROP_AND_RESIZE else min
    k = cover_or_fit(width_px / source_width, height_px / source_height)
    content_width = max(1, round(source_width * k))
    content_height = max(1, round(source_height * k))
    return Placement(
        content_width,
        content_height,
        (width_px - content_width) // 2,
        (height_px - content_height) // 2,
    )


def resize_foreground(
    image: Image.Image, width_px: int, height_px: int, mode: ResizeMode
) -> Image.Image:
    """`image` on the canvas; the margin of RESIZE_AND_FILL is transparent (0, 0, 0, 0).

    Args:
        image: mode RGBA, straight alpha.
        width_px: canvas width.
        height_px: canvas height.
        mode: how it is brought to the canvas.

    Returns:
        Mode RGBA, `width_px` x `height_px`.
    """
    assert image.mode == "RGBA"
    placement = place(image.size, width_px, height_px, mode)
    content = _visible_content(image, placement, width_px, height_px)
    canvas = Image.new("RGBA", (width_px, height_px))
    canvas.paste(content, (max(0, placement.left_px), max(0, placement.top_px)))
    return canvas


def resize_reference(
    image: Image.Image, width_px: int, height_px: int, mode: ResizeMode
) -> Image.Image:
    """`image` on the canvas; the margin of RESIZE_AND_FILL repeats the content's edge pixels.

    Args:
        image: mode RGB.
        width_px: canvas width.
        height_px: canvas height.
        mode: how it is brought to the canvas.

    Returns:
        Mode RGB, `width_px` x `height_px`.
    """
    assert image.mode == "RGB"
    placement = place(image.size, width_px, height_px, mode)
    content = np.asarray(_visible_content(image, placement, width_px, height_px))
    left, top = max(0, placement.left_px), max(0, placement.top_px)
    right, bottom = width_px - left - content.shape[1], height_px - top - content.shape[0]
    return Image.fromarray(np.pad(content, ((top, bottom), (left, right), (0, 0)), mode="edge"))


def pad_to_multiple(image: Image.Image, multiple: int) -> Image.Image:
    """`image` grown to the right and the bottom until both sides divide by `multiple`.

    The new pixels are transparent for RGBA and repeat the edge for RGB.
    """
    assert image.mode in ("RGB", "RGBA")
    right, bottom = -image.width % multiple, -image.height % multiple
    if not right and not bottom:
        return image
    margins = ((0, bottom), (0, right), (0, 0))
    if image.mode == "RGBA":
        return Image.fromarray(np.pad(np.asarray(image), margins))
    return Image.fromarray(np.pad(np.asarray(image), margins, mode="edge"))


def _visible_content(
    image: Image.Image, placement: Placement, width_px: int, height_px: int
) -> Image.Image:
    """The part of the resized content that lies on the canvas."""
    left, right = _visible_range(placement.left_px, placement.width_px, width_px)
    top, bottom = _visible_range(placement.top_px, placement.height_px, height_px)
    visible = (left, top, right, bottom)
    content_size = (placement.width_px, placement.height_px)
    if content_size == image.size:
        return image.crop(visible)
    if placement.width_px * placement.height_px <= _MAX_WHOLE_CONTENT_PX:
        return image.resize(content_size, _RESAMPLING).crop(visible)
    return _resize_visible(image, content_size, visible)


def _resize_visible(
    image: Image.Image, content_size: tuple[int, int], visible: tuple[int, int, int, int]
) -> Image.Image:
    """`image.resize(content_size).crop(visible)` without the rest, up to rounding.

    10000x10 covering 2560x2560 would be 2560000x2560 as a whole, 26 GB.
    """
    left, top, right, bottom = visible
    x_scale, y_scale = image.width / content_size[0], image.height / content_size[1]
    # Pillow keeps `box` as 32-bit floats, which misses by whole output pixels far out in a large
    # source; so the needed pixels are cut out first and the box counts from their corner.
    first_x, last_x = _needed_range(left * x_scale, right * x_scale, x_scale, image.width)
    first_y, last_y = _needed_range(top * y_scale, bottom * y_scale, y_scale, image.height)
    cut = (first_x, first_y, last_x, last_y)
    needed = image if cut == (0, 0, *image.size) else image.crop(cut)
    box = (
        left * x_scale - first_x,
        top * y_scale - first_y,
        min(right * x_scale - first_x, needed.width),
        min(bottom * y_scale - first_y, needed.height),
    )
    return needed.resize((right - left, bottom - top), _RESAMPLING, box=box)


def _visible_range(offset: int, content_length: int, canvas_length: int) -> tuple[int, int]:
    """First and one past the last content pixel that lies on the canvas."""
    return max(0, -offset), min(content_length, canvas_length - offset)


def _needed_range(start: float, end: float, scale: float, length: int) -> tuple[int, int]:
    """Source pixels the filter reads for `start`..`end`, with one to spare on each side."""
    radius = _FILTER_RADIUS * max(1.0, scale) + 1
    return max(0, math.floor(start - radius)), min(length, math.ceil(end + radius))
