"""Procedurally drawn products: what stands in front of the scenes the model is trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas
from scripts.train_embedded.light import Light
from scripts.train_embedded.product_boxes import BOXES
from scripts.train_embedded.product_easel import Bounds, Easel, Part, View
from scripts.train_embedded.product_lathes import LATHES
from scripts.train_embedded.product_outlines import WEAR
from scripts.train_embedded.product_shading import Look, draw_look, lamp
from scripts.train_embedded.product_toys import TOYS
from scripts.train_embedded.product_vessels import VESSELS

SHAPES: dict[str, Callable[[Look, View], list[Part]]] = {
    **LATHES,
    **VESSELS,
    **BOXES,
    **WEAR,
    **TOYS,
}


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A product before it is placed: its parts in its own space.

    Attributes:
        name: key of SHAPES.
        parts: in the order of painting.
        view: from where it is seen.
        bounds: left, low, right, high of its picture, in product units.
        foot_depth: how far up in its picture the back of its foot is, in product units.
        studio: see `product_shading.lamp`.
    """

    name: str
    parts: tuple[Part, ...]
    view: View
    bounds: Bounds
    foot_depth: float
    studio: float

    @property
    def aspect(self) -> float:
        """Width over height."""
        left, low, right, high = self.bounds
        return (right - left) / (high - low)


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A product in the picture, without its shadow.

    Attributes:
        alpha: (H, W), 0 outside.
        color: (H, W, 3), not premultiplied.
        foot_y: y of its lowest point, in units.
        center_x: x of its middle.
        half_width: half of its width.
        name: key of SHAPES.
        height: of it, in units.
        foot_depth: height in the picture of the area it stands on.
        box: rows and columns outside of which `alpha` is 0.
    """

    alpha: Array
    color: Array
    foot_y: float
    center_x: float
    half_width: float
    name: str
    height: float
    foot_depth: float
    box: tuple[slice, slice]


def build(rng: np.random.Generator, name: str | None = None) -> Model:
    """A product of random colours, proportions and view; of a random shape unless named."""
    if name is None:
        name = str(rng.choice(list(SHAPES)))
    yaw = float(rng.uniform(0.15, 0.75) * rng.choice((-1, 1))) if rng.random() < 0.8 else 0.0
    view = View(yaw, float(rng.uniform(0.08, 0.34)))
    parts = tuple(SHAPES[name](draw_look(rng), view))
    studio = 0.0 if rng.random() < 0.4 else float(rng.uniform(0.2, 0.9))
    lefts, lows, rights, highs = zip(*(part.bounds(view) for part in parts), strict=True)
    low = min(lows)
    standing = [v for v in (part.ground(view) for part in parts) if v is not None]
    depth = max(max(standing, default=low) - low, 0.0)
    return Model(name, parts, view, (min(lefts), low, max(rights), max(highs)), depth, studio)


def draw(
    c: Canvas,
    model: Model,
    light: Light,
    *,
    center_x: float,
    foot_y: float,
    height: float,
    tilt: float = 0.0,
) -> Product:
    """The product in the picture.

    Args:
        c: the canvas.
        model: what to draw.
        light: it is shaded by.
        center_x: x of its middle, in units.
        foot_y: y of its lowest point.
        height: of it, upright.
        tilt: radians counterclockwise, about the middle of its foot.
    """
    left, low, right, high = model.bounds
    scale = height / (high - low)
    corners = np.array(
        [(u - (left + right) / 2, v - low) for u in (left, right) for v in (low, high)]
    )
    cos, sin = np.cos(tilt), np.sin(tilt)
    across = (corners[:, 0] * cos - corners[:, 1] * sin) * scale
    up = (corners[:, 0] * sin + corners[:, 1] * cos) * scale
    # A tilted product is moved so that it is still centred and stands on its lowest corner.
    middle, lowest = (across.max() + across.min()) / 2, up.min()
    pivot_x, pivot_y = center_x - middle, foot_y + lowest
    box = (
        _pixels(pivot_y - up.max(), pivot_y - lowest, c.unit_px, c.height_px),
        _pixels(pivot_x + across.min(), pivot_x + across.max(), c.unit_px, c.width_px),
    )
    # The product's own origin lies off the middle of its foot.
    shift_u, shift_v = -(left + right) / 2 * scale, -low * scale
    origin_x = pivot_x + shift_u * cos - shift_v * sin
    origin_y = pivot_y - (shift_u * sin + shift_v * cos)
    easel = Easel(
        c.x[box] - np.float32(origin_x),
        c.y[box] - np.float32(origin_y),
        scale,
        tilt,
        model.view,
        lamp(light, model.studio, tilt),
    )
    for part in model.parts:
        part.paint_on(easel)
    alpha = np.zeros((c.height_px, c.width_px), np.float32)
    color = np.zeros((c.height_px, c.width_px, 3), np.float32)
    alpha[box] = easel.alpha
    color[box] = np.clip(easel.premultiplied / np.maximum(easel.alpha, 1e-3)[..., None], 0, 1)
    return Product(
        alpha,
        color,
        foot_y,
        center_x,
        float(across.max() - across.min()) / 2,
        model.name,
        float(up.max() - lowest),
        model.foot_depth * scale * float(cos),
        box,
    )


def _pixels(start: float, end: float, unit_px: float, limit: int) -> slice:
    """Pixels from `start` to `end` (units) with a margin, within the picture, at least four."""
    first = int(np.clip(np.floor(start * unit_px) - 3, 0, limit - 4))
    last = int(np.clip(np.ceil(end * unit_px) + 3, first + 4, limit))
    return slice(first, last)
