"""Upright prisms and discs seen a little from above: podium bodies, their faces and shadows.

All of a body's outline is a function of x alone, so that faces need no polygon rendering: within
one column the top face runs from `back` to `front`, and the side from there `height` downwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from scripts.train_embedded.canvas import Array, Canvas, mix, smoothstep
from scripts.train_embedded.light import Light
from scripts.train_embedded.paper import expose

# Plan angles of the corners in degrees, and how far the plan is squeezed from front to back.
_PLANS: dict[str, tuple[tuple[float, ...], float]] = {
    "square": ((45, 135, 225, 315), 0.72),
    "hexagonal": ((0, 60, 120, 180, 240, 300), 1.0),
    "round": (tuple(range(0, 360, 9)), 1.0),
}


@dataclass(frozen=True, slots=True, eq=False)
class Prism:
    """One body.

    Attributes:
        center_x: of the top face, in units.
        center_y: the same.
        radius: half of its width.
        height: of its side.
        tilt: how far round things are squeezed by the view: 0 from the side, 1 from above.
        outline: (N, 2) x and y of the top face's corners.
        back: (1, W) y of the top face's far edge.
        front: (1, W) y of its near edge.
        normal: (1, W) of the side face under the near edge, as an x component: -1 to 1.
        inside: (1, W) coverage of the column.
    """

    center_x: float
    center_y: float
    radius: float
    height: float
    tilt: float
    outline: Array
    back: Array
    front: Array
    normal: Array
    inside: Array


def prism(
    c: Canvas,
    shape: str,
    center: tuple[float, float],
    radius: float,
    height: float,
    tilt: float,
    turn: float = 0.0,
) -> Prism:
    """A body of one of the plans, `turn` degrees about its axis."""
    angles, depth = _PLANS[shape]
    around = np.radians(np.asarray(angles, np.float32) + turn)
    plan = np.stack([np.cos(around), depth * np.sin(around)], axis=1)
    plan /= np.abs(plan[:, 0]).max()
    nearness = 1 + 0.5 * tilt * plan[:, 1] * radius
    outline = np.asarray(center) + radius * nearness[:, None] * plan * (1, tilt)
    x = c.x[0]
    back, front = _chains(outline, x)
    if shape == "round":
        normal = np.clip((x - center[0]) / radius, -1, 1)
    else:
        slope = np.gradient(front, x) / tilt
        normal = ndimage.gaussian_filter1d(-slope / np.sqrt(1 + slope**2), 1.2)
    left, right = outline[:, 0].min(), outline[:, 0].max()
    inside = c.aa(np.maximum(left - c.x[:1], c.x[:1] - right))
    rows = (np.asarray(row, np.float32)[None] for row in (back, front, normal))
    return Prism(*center, radius, height, tilt, outline.astype(np.float32), *rows, inside)


def _chains(outline: Array, x: Array) -> tuple[Array, Array]:
    """The far and the near edge of a convex outline: y over every x."""
    order = np.roll(outline, -int(np.argmin(outline[:, 0])), axis=0)
    turn = int(np.argmax(order[:, 0]))
    one, other = order[: turn + 1], np.concatenate([order[turn:], order[:1]])[::-1]
    first = np.interp(x, one[:, 0] + 1e-6 * np.arange(len(one)), one[:, 1])
    second = np.interp(x, other[:, 0] + 1e-6 * np.arange(len(other)), other[:, 1])
    return np.minimum(first, second), np.maximum(first, second)


def cast_shadow(c: Canvas, body: Prism, light: Light, image: Array, strength: float) -> Array:
    """`image` with the body's shadow on the floor and the dark line where it stands."""
    length = body.height * (2.1 - 1.4 * light.elevation)
    shift_x = -np.sign(light.azimuth) * (0.3 + 0.7 * abs(light.azimuth)) * length
    shift_y = -body.tilt * (1.0 - 0.7 * abs(light.azimuth)) * length
    base = body.outline + np.array((0, body.height), np.float32)
    fallen = base + np.array((shift_x, shift_y), np.float32)
    swept = _mask(c, [base, fallen, *_quads(base, fallen)])
    near = c.blur(swept, 0.006 + 0.012 * light.softness)
    far = c.blur(swept, 0.016 + 0.05 * light.softness)
    away = np.abs(c.x - body.center_x) / (body.radius + abs(shift_x))
    shade = mix(near, far, smoothstep(0.5, 1.0, away))
    contact = c.blur(_mask(c, [base]), 0.014)
    dark = 1 - (1 - (1 - strength) * shade) * (1 - 0.35 * contact)
    return (image * (1 - dark[..., None])).astype(np.float32)


def _quads(near: Array, far: Array) -> list[Array]:
    """What the edges of an outline sweep over on the way from one place to another."""
    return [
        np.stack([near[i - 1], near[i], far[i], far[i - 1]]).astype(np.float32)
        for i in range(len(near))
    ]


def _mask(c: Canvas, polygons: list[Array]) -> Array:
    """(H, W) union of polygons, drawn at half size: it is blurred anyway."""
    half = (max(1, c.width_px // 2), max(1, c.height_px // 2))
    drawing = Image.new("L", half)
    pen = ImageDraw.Draw(drawing)
    for polygon in polygons:
        pen.polygon([(float(x), float(y)) for x, y in polygon * (c.unit_px / 2)], fill=255)
    full = drawing.resize((c.width_px, c.height_px), Image.Resampling.BILINEAR)
    return np.asarray(full, np.float32) / np.float32(255)


def _steepness(c: Canvas, edge: Array) -> Array:
    """(1, W) length of an edge over each pixel's width."""
    return np.sqrt(1 + np.gradient(edge, c.x[0], axis=1) ** 2).astype(np.float32)


def draw(c: Canvas, image: Array, body: Prism, color: Array, floor: Array, light: Light) -> Array:
    """`image` with the body: a top face, shaded sides and a bevel that catches the light."""
    # Most of the picture is not the body.
    first = max(0, int((body.outline[:, 1].min() - 0.01) * c.unit_px))
    last = int((body.outline[:, 1].max() + body.height + 0.01) * c.unit_px) + 1
    x, y, below = c.x[first:last], c.y[first:last], image[first:last]
    # Across a steep edge a pixel covers more height than it is high.
    far, near = _steepness(c, body.back), _steepness(c, body.front)
    top = body.inside * c.aa((body.back - y) / far) * c.aa((y - body.front) / near)
    side = body.inside * c.aa((body.front - y) / near) * c.aa((y - body.front - body.height) / near)
    toward = (x - body.center_x) / np.float32(body.radius) * np.float32(light.azimuth)
    fill = float(light.ambient.mean())
    top_light = 0.84 + 0.34 * light.elevation + 0.1 * toward
    lambert = body.normal * light.azimuth * 0.85 + np.sqrt(1 - body.normal**2) * 0.5
    side_light = 0.42 * fill + 0.62 * np.clip(lambert + 0.15, 0, None)
    down = np.clip((y - body.front) / np.float32(body.height), 0, 1)
    side_light = side_light * (1.05 - 0.28 * down)
    bounced = color + (floor - color) * (0.22 * down**2)[..., None]
    drawn = mix(below, expose(bounced, side_light, light), side)
    drawn = mix(drawn, expose(color, top_light, light), top)
    bevel = np.exp(-(((y - body.front) / 0.0035) ** 2)) * body.inside
    bright = expose(color, 1.12 * top_light + 0.1, light)
    result = image.copy()
    result[first:last] = mix(drawn, bright, 0.65 * bevel)
    return result
