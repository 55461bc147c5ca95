"""What lies far behind a tabletop, thrown strongly out of focus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, canvas, fit, mix, smoothstep
from scripts.train_embedded.light import Light, falloff, indoor
from scripts.train_embedded.palette import named, pick, rgb
from scripts.train_embedded.words import either, say


@dataclass(frozen=True, slots=True, eq=False)
class Backdrop:
    """A blurred backdrop and the light that comes with it.

    Attributes:
        image: (H, W, 3) over the whole canvas.
        phrases: what it shows.
        light: of the whole scene.
        colors: as in Scene.
    """

    image: Array
    phrases: tuple[str, ...]
    light: Light
    colors: tuple[tuple[str, str], ...] = ()


def backdrop(c: Canvas, rng: np.random.Generator, floor: float) -> Backdrop:
    """Any of the backdrops; `floor` is the y below which the table hides it."""
    small = canvas(max(c.width_px // 2, 8), max(c.height_px // 2, 8))
    drawn = _BACKDROPS[rng.choice(len(_BACKDROPS), p=_SHARES)](small, rng, floor)
    return replace(drawn, image=np.clip(fit(drawn.image, c), 0, 1))


def plain_wall(c: Canvas, rng: np.random.Generator, floor: float) -> Backdrop:
    """A smooth wall of a named colour with a soft pool of light on it."""
    name = pick(rng)
    light = indoor(rng, warm=float(rng.uniform(-0.3, 0.2)))
    x, y = c.width * (0.5 + 0.4 * light.azimuth), floor * rng.uniform(0.2, 0.6)
    pool = np.exp(-((c.distance(x, float(y)) / np.float32(rng.uniform(0.4, 0.7))) ** 2))
    image = named(name, rng, 0.012) * falloff(c, light, 0.45) * (0.8 + 0.22 * pool)[..., None]
    wall = either(rng, f"{say(rng, name)} wall", f"{say(rng, name)} background")
    return Backdrop(image.astype(np.float32), (wall,), light, (("wall", name),))


def bokeh_lights(c: Canvas, rng: np.random.Generator, floor: float) -> Backdrop:
    """Lamps far away in a dark room, each a soft disc."""
    light = replace(indoor(rng, warm=float(rng.uniform(0.2, 1.0))), softness=0.7)
    night = rgb(38, 28, 24) if rng.random() < 0.6 else rgb(22, 28, 46)
    image = c.vertical(night * 0.8, night * 1.7, end=floor) * (
        1 + 0.25 * c.noise(rng, 2, octaves=2)[..., None]
    )
    warm = (rgb(255, 196, 110), rgb(255, 224, 170), rgb(250, 158, 84), rgb(236, 240, 255))
    for _ in range(int(rng.integers(18, 32))):
        radius = float(rng.uniform(0.022, 0.06))
        color = warm[rng.choice(4, p=(0.4, 0.3, 0.2, 0.1))] * rng.uniform(0.35, 0.95)
        _add_disc(c, image, rng, floor, radius, color.astype(np.float32))
    image = c.blur(np.clip(image, 0, 1.2), 0.005)
    words = either(rng, "bokeh lights", f"{say(rng, 'blurred')} lights", "warm bokeh lights")
    return Backdrop(image, (words,), light)


def plants(c: Canvas, rng: np.random.Generator, floor: float) -> Backdrop:
    """A garden or house plants: shaded masses of leaves, lit leaves, and light between them."""
    light = indoor(rng, warm=float(rng.uniform(-0.1, 0.5)))
    image = _greenery(c, rng, light, floor)
    words = either(
        rng,
        f"{say(rng, 'blurred')} green plants",
        f"{say(rng, 'blurred')} green leaves",
        f"{say(rng, 'blurred')} garden",
    )
    return Backdrop(image, (words,), light)


def _greenery(c: Canvas, rng: np.random.Generator, light: Light, floor: float) -> Array:
    """Defocused foliage over the whole canvas."""
    masses = c.noise(rng, 3.5, octaves=2)
    side = smoothstep(-0.3, 0.7, (c.x / c.width - 0.5) * np.float32(np.sign(light.azimuth)))
    deep, leaf = rgb(30, 58, 28), rgb(92, 138, 52)
    if rng.random() < 0.35:
        deep, leaf = rgb(70, 98, 62), rgb(150, 184, 110)
    image = mix(c.fill(deep), c.fill(leaf), smoothstep(-1.4, 1.6, masses + 1.2 * side - 0.6))
    image = _draw_leaves(c, rng, image, floor, leaf)
    image = c.blur(image, 0.016)
    for _ in range(int(rng.integers(14, 26))):
        radius = float(rng.uniform(0.018, 0.05))
        color = rgb(188, 214, 120) * rng.uniform(0.18, 0.5)
        _add_disc(c, image, rng, floor, radius, color.astype(np.float32))
    return c.blur(image, 0.006)


def _draw_leaves(
    c: Canvas, rng: np.random.Generator, image: Array, floor: float, leaf: Array
) -> Array:
    """Single leaves as long ellipses, pointing any way up."""
    for _ in range(int(rng.integers(12, 20))):
        x, y = rng.uniform(0, c.width), rng.uniform(0, floor)
        turn, long = rng.uniform(-np.pi, 0), rng.uniform(0.07, 0.16)
        along = (c.x - x) * np.cos(turn) + (c.y - y) * np.sin(turn)
        beside = (c.y - y) * np.cos(turn) - (c.x - x) * np.sin(turn)
        blade = np.hypot(along / long, beside / (long * rng.uniform(0.3, 0.5)))
        shade = c.fill(np.clip(leaf * rng.uniform(0.5, 1.5), 0, 1))
        image = mix(image, shade, (0.75 * smoothstep(1.1, 0.8, blade)).astype(np.float32))
    return image


def window(c: Canvas, rng: np.random.Generator, floor: float) -> Backdrop:
    """A bright window beside the middle: panes, frame, and a curtain of daylight."""
    light = replace(indoor(rng, warm=float(rng.uniform(-0.3, 0.3))), softness=0.6)
    side = float(np.sign(light.azimuth))
    wall = rgb(206, 200, 192) * rng.uniform(0.55, 0.9)
    image = c.fill(wall) * falloff(c, light, 0.5)
    wide, tall = float(rng.uniform(0.5, 0.72)) * c.width, floor * float(rng.uniform(0.78, 0.95))
    middle = c.width * (0.5 + 0.22 * side)
    right, down = (c.x - middle) / np.float32(wide / 2), c.y / np.float32(tall)
    inside = (np.abs(right) < 1) & (down < 1)
    greens = rgb(150, 180, 128) if rng.random() < 0.6 else rgb(186, 198, 210)
    outside = c.vertical(rgb(255, 255, 255), greens, end=tall * 1.2)
    outside = outside * (1 + 0.06 * c.noise(rng, 5, octaves=2))[..., None]
    image = mix(image, outside, inside.astype(np.float32))
    panes = int(rng.integers(2, 4))
    bars = np.abs((right + 1) / 2 * panes - np.round((right + 1) / 2 * panes)) < 0.035 * panes
    bars |= np.abs(down - np.float32(rng.uniform(0.4, 0.6))) < 0.03
    bars |= np.abs(down - 1) < 0.035
    frame = inside | ((np.abs(right) < 1.05) & (down < 1.03))
    image = mix(image, c.fill(rgb(226, 222, 216) * 0.6), (bars & frame).astype(np.float32))
    if rng.random() < 0.6:
        folds = 0.9 + 0.08 * np.sin(c.x * 70)
        curtain = smoothstep(0.6, 0.75, right * side) * smoothstep(1.5, 1.3, right * side)
        image = mix(image, rgb(240, 236, 228) * folds[..., None], 0.9 * curtain)
    image = c.blur(image.astype(np.float32), 0.014)
    glow = c.blur(inside.astype(np.float32), 0.1)
    image = image + 0.18 * glow[..., None] * light.color
    words = either(rng, "bright window", f"{say(rng, 'blurred')} window", "window light")
    return Backdrop(image.astype(np.float32), (words,), light)


def room(c: Canvas, rng: np.random.Generator, floor: float) -> Backdrop:
    """A living room: wall, shelves with things on them, a picture, a lit lamp."""
    light = indoor(rng, warm=float(rng.uniform(0.1, 0.9)))
    side = float(np.sign(light.azimuth))
    walls = (rgb(214, 204, 190), rgb(186, 190, 192), rgb(150, 158, 150), rgb(196, 176, 158))
    image = walls[rng.integers(4)] * falloff(c, light, 0.5)
    image = _draw_shelves(c, rng, image, c.width * (0.5 - 0.27 * side), floor)
    if rng.random() < 0.7:
        image = _draw_sideboard(c, rng, image, floor)
    x, y = c.width * (0.5 + side * rng.uniform(0.22, 0.36)), floor * rng.uniform(0.3, 0.5)
    image = c.blur(image.astype(np.float32), 0.014)
    image = _draw_lamp(c, rng, image, float(x), float(y), floor)
    words = either(
        rng, f"{say(rng, 'blurred')} living room", f"{say(rng, 'blurred')} room", "cozy interior"
    )
    return Backdrop(c.blur(image, 0.01), (words, either(rng, "lamp", "warm lamp")), light)


def _draw_shelves(
    c: Canvas, rng: np.random.Generator, image: Array, x: float, floor: float
) -> Array:
    """Boards on the wall with books and vases on them."""
    half = float(rng.uniform(0.2, 0.27))
    timber = rgb(120, 84, 56) * rng.uniform(0.7, 1.3)
    goods = (rgb(196, 120, 88), rgb(96, 118, 104), rgb(230, 222, 208), rgb(70, 84, 104))
    for shelf in range(int(rng.integers(2, 4))):
        level = floor * (0.34 + 0.32 * shelf)
        left = x - half
        while left < x + half - 0.03:
            wide, tall = rng.uniform(0.025, 0.07), rng.uniform(0.06, 0.13)
            if rng.random() < 0.75:
                tint = goods[rng.integers(4)] * rng.uniform(0.6, 1.1)
                image = _draw_box(c, image, left, level - tall, left + wide, level, tint)
            left += wide + rng.uniform(0.0, 0.04)
        image = _draw_box(c, image, x - half, level, x + half, level + 0.02, timber)
    return image


def _draw_sideboard(c: Canvas, rng: np.random.Generator, image: Array, floor: float) -> Array:
    """A low cabinet or sofa that runs behind the table."""
    tints = (rgb(112, 84, 62), rgb(142, 144, 142), rgb(84, 98, 92), rgb(196, 184, 166))
    left = c.width * rng.uniform(-0.2, 0.4)
    top = floor * rng.uniform(0.74, 0.86)
    tint = tints[rng.integers(4)] * rng.uniform(0.7, 1.0)
    return _draw_box(c, image, left, top, left + c.width * 0.8, c.height, tint)


def _draw_box(
    c: Canvas, image: Array, left: float, top: float, right: float, bottom: float, tint: Array
) -> Array:
    """Fills a rectangle, edges in units."""
    scale = c.unit_px
    rows = slice(max(int(top * scale), 0), max(int(bottom * scale), 0))
    columns = slice(max(int(left * scale), 0), max(int(right * scale), 0))
    painted = np.array(image, np.float32)
    painted[rows, columns] = tint
    return painted


def _draw_lamp(
    c: Canvas, rng: np.random.Generator, image: Array, x: float, y: float, floor: float
) -> Array:
    """A lit shade on a thin stand, and its glow on the wall."""
    glow = rgb(255, 206, 138)
    wide, tall = float(rng.uniform(0.06, 0.085)), float(rng.uniform(0.09, 0.12))
    down = (c.y - np.float32(y)) / np.float32(tall)
    half = wide * (0.8 + 0.25 * down)
    shade = smoothstep(1.0, 0.75, np.abs(c.x - np.float32(x)) / half)
    shade = shade * smoothstep(1.0, 0.8, np.abs(down * 2))
    stand = smoothstep(0.012, 0.006, np.abs(c.x - np.float32(x))) * (c.y > y) * (c.y < floor)
    image = mix(image, c.fill(rgb(70, 56, 44)), (0.7 * stand).astype(np.float32))
    halo = np.exp(-((c.distance(x, y) / np.float32(0.26)) ** 2))
    image = image + (0.34 * halo)[..., None] * glow
    return mix(image, c.fill(rgb(255, 236, 196)), shade)


def _add_disc(
    c: Canvas,
    image: Array,
    rng: np.random.Generator,
    floor: float,
    radius: float,
    color: Array,
) -> None:
    """Adds a defocused point of light to `image`, with the slightly brighter rim of a lens."""
    scale = c.unit_px
    x, y = float(rng.uniform(0, c.width)), float(rng.uniform(-0.02, floor))
    rows = slice(max(int((y - radius) * scale) - 1, 0), max(int((y + radius) * scale) + 2, 0))
    columns = slice(max(int((x - radius) * scale) - 1, 0), max(int((x + radius) * scale) + 2, 0))
    away = np.hypot(c.x[rows, columns] - np.float32(x), c.y[rows, columns] - np.float32(y))
    away = away / np.float32(radius)
    image[rows, columns] += ((0.75 + 0.25 * away**2) * smoothstep(1.0, 0.9, away))[
        ..., None
    ] * color


_BACKDROPS: tuple[Callable[[Canvas, np.random.Generator, float], Backdrop], ...] = (
    plain_wall,
    room,
    window,
    plants,
    bokeh_lights,
)
_SHARES = (0.28, 0.18, 0.18, 0.2, 0.16)
