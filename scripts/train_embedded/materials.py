"""Flat, unlit textures of natural and building materials, for slabs, walls and tabletops.

Each returns (H, W, 3) over the whole canvas, as seen straight on under neutral even light. Streaks
of wood run along x: transpose the canvas and the picture for upright boards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from scripts.train_embedded.canvas import Array, Canvas, canvas, fit, mix, smoothstep
from scripts.train_embedded.palette import rgb

NDInt = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class WoodTone:
    """Colours of a timber: of the pale early wood, the dark late wood and the knots."""

    early: Array
    late: Array
    knot: Array


WOOD_TONES: dict[str, WoodTone] = {
    "light wood": WoodTone(rgb(226, 194, 148), rgb(188, 146, 98), rgb(134, 92, 56)),
    "wood": WoodTone(rgb(188, 138, 88), rgb(138, 90, 50), rgb(82, 48, 26)),
    "walnut wood": WoodTone(rgb(128, 86, 58), rgb(82, 50, 32), rgb(44, 26, 18)),
    "dark wood": WoodTone(rgb(82, 60, 46), rgb(46, 32, 25), rgb(24, 17, 14)),
    "white painted wood": WoodTone(rgb(234, 232, 226), rgb(206, 203, 196), rgb(168, 162, 152)),
}


@dataclass(frozen=True, slots=True, eq=False)
class MarbleTone:
    """Colours of a marble: of the base, the clouds in it and the veins."""

    base: Array
    cloud: Array
    vein: Array


MARBLE_TONES: dict[str, MarbleTone] = {
    "white": MarbleTone(rgb(240, 239, 236), rgb(212, 212, 213), rgb(120, 121, 126)),
    "black": MarbleTone(rgb(28, 28, 31), rgb(48, 48, 52), rgb(226, 222, 214)),
    "green": MarbleTone(rgb(34, 78, 60), rgb(58, 112, 86), rgb(198, 222, 204)),
}

# base colour name: base, chips
TERRAZZO_TONES: dict[str, tuple[Array, tuple[Array, ...]]] = {
    "white": (
        rgb(238, 235, 229),
        (rgb(196, 128, 96), rgb(92, 96, 100), rgb(206, 178, 138), rgb(150, 164, 160)),
    ),
    "gray": (
        rgb(164, 165, 167),
        (rgb(238, 236, 230), rgb(78, 80, 86), rgb(208, 196, 176), rgb(118, 122, 130)),
    ),
    "pink": (
        rgb(236, 198, 194),
        (rgb(250, 246, 240), rgb(186, 92, 84), rgb(120, 132, 128), rgb(222, 156, 120)),
    ),
}


def wood(
    c: Canvas,
    rng: np.random.Generator,
    tone: WoodTone,
    *,
    across: Array | None = None,
    board: NDInt | None = None,
    knots: int = 3,
) -> Array:
    """Sawn boards: growth rings cut lengthwise, as streaks and arches along x, and a few knots.

    Args:
        c: the canvas.
        rng: the picture's generator.
        tone: colours of the timber.
        across: (H, W) distance from the middle line of the board, in units.
        board: (H, W) index of the board; each is cut from another place of the trunk.
        knots: how many, over all boards.
    """
    if across is None:
        across = c.y - np.float32(c.height / 2)
    if board is None:
        board = np.zeros(c.x.shape, np.int32)
    count = int(board.max()) + 1
    heart = rng.normal(0, 0.08, count).astype(np.float32)[board]
    start = rng.uniform(0, c.width, count).astype(np.float32)[board]
    slope = (rng.uniform(0.03, 0.14, count) * rng.choice((-1, 1), count)).astype(np.float32)[board]
    bend = c.noise(rng, 2.5, octaves=3, stretch=(4.0, 1.0))
    depth = slope * (c.x - start) + 0.02 * bend
    radius = np.hypot(across - heart + 0.007 * np.roll(bend, c.height_px // 3, axis=0), depth)
    rings = radius * np.float32(rng.uniform(24, 34)) + 0.35 * c.noise(
        rng, 6, octaves=3, stretch=(9.0, 1.0)
    )
    core = np.zeros(c.x.shape, np.float32)
    for _ in range(knots):
        _add_knot(c, rng, board, rings, core)
    saw = rings - np.floor(rings)
    late = smoothstep(0.0, 0.8, saw) * smoothstep(1.0, 0.82, saw)
    patches = c.noise(rng, 2.0, octaves=3, stretch=(3.0, 1.0))
    pores = c.noise(rng, 36, octaves=2, stretch=(18.0, 0.7))
    image = mix(c.fill(tone.early), c.fill(tone.late), late * (0.5 + 0.14 * patches))
    image = mix(image, c.fill(tone.knot), 0.85 * core)
    return np.clip(image * (1 + 0.035 * patches + 0.035 * pores)[..., None], 0, 1)


def _add_knot(c: Canvas, rng: np.random.Generator, board: NDInt, rings: Array, core: Array) -> None:
    """Bends the `rings` around a knot and paints its dark heart into `core`, on one board."""
    x, y = float(rng.uniform(0, c.width)), float(rng.uniform(0, c.height))
    size = float(rng.uniform(0.014, 0.024))
    row = min(int(y * c.unit_px), c.height_px - 1)
    column = min(int(x * c.unit_px), c.width_px - 1)
    reach = int(6 * size * c.unit_px)
    near = (
        slice(max(row - reach, 0), row + reach),
        slice(max(column - 2 * reach, 0), column + 2 * reach),
    )
    own = board[near] == board[row, column]
    right = (c.x[near] - np.float32(x)) / np.float32(1.8)
    away = np.hypot(right, c.y[near] - np.float32(y)) / np.float32(size)
    rings[near] += own * np.float32(rng.uniform(2.0, 3.2)) * np.exp(-((away / 2.6) ** 2))
    heart = own * smoothstep(1.15, 0.5, away) * (0.8 + 0.2 * np.cos(away * 9))
    core[near] = np.maximum(core[near], heart)


def marble(c: Canvas, rng: np.random.Generator, tone: MarbleTone) -> Array:
    """Polished marble: soft clouds and veins that branch off one another."""
    angle = float(rng.uniform(0.25, 0.75) * np.pi / 2 * rng.choice((-1, 1)))
    warp = c.noise(rng, 1.2, octaves=6, gain=0.44)
    main = _bands(c, angle, float(rng.uniform(2.2, 3.4))) + np.float32(rng.random()) + 0.3 * warp
    turn = angle + float(rng.uniform(0.5, 1.0) * rng.choice((-1, 1)))
    side = _bands(c, turn, float(rng.uniform(3.5, 5.0))) + 0.4 * c.noise(
        rng, 2.0, octaves=5, gain=0.45
    )
    strength = smoothstep(-1.3, 1.0, c.noise(rng, 2.5, octaves=3))
    # Side veins live only between every other pair of main ones, so that they end at them.
    between = np.floor(main).astype(np.int32) % 2 == 0
    main_distance = _line_distance(c, main)
    side_distance = _line_distance(c, side)
    width = 0.002 + 0.008 * strength**2
    veins = (1 + (main_distance / width) ** 2) ** -1.7 * (0.15 + 0.75 * strength)
    branches = between * (1 + (side_distance / (0.5 * width)) ** 2) ** -1.2 * (0.6 * strength)
    halo = np.exp(-main_distance / np.float32(0.05)) * strength
    clouds = smoothstep(-0.8, 1.6, c.noise(rng, 2.0, octaves=4) + 0.5 * warp)
    image = mix(c.fill(tone.base), c.fill(tone.cloud), np.clip(0.65 * clouds + 0.45 * halo, 0, 1))
    return mix(image, c.fill(tone.vein), 0.85 * np.maximum(veins, branches).astype(np.float32))


def _bands(c: Canvas, angle: float, per_unit: float) -> Array:
    """A coordinate across parallel bands that run at `angle` to the x axis; one each integer."""
    return (np.float32(-np.sin(angle)) * c.x + np.float32(np.cos(angle)) * c.y) * np.float32(
        per_unit
    )


def _line_distance(c: Canvas, field: Array) -> Array:
    """Distance in units to the nearest line on which `field` is an integer."""
    down, right = np.gradient(field)
    steepness = np.hypot(down, right) * np.float32(c.unit_px)
    return np.abs(field - np.round(field)) / np.maximum(steepness, np.float32(0.4))


def terrazzo(
    c: Canvas, rng: np.random.Generator, base: Array, chips: tuple[Array, ...], size: float = 1.0
) -> Array:
    """Stone chips of several colours in cement; `size` scales the chips."""
    ground = c.fill(base) * (1 + 0.012 * c.noise(rng, 12, octaves=3))[..., None]
    zoom = 2
    ink = Image.new("RGB", (c.width_px * zoom, c.height_px * zoom))
    cover = Image.new("L", ink.size)
    ink_pen, cover_pen = ImageDraw.Draw(ink), ImageDraw.Draw(cover)
    for x, y, radius in _scatter(c, rng, size):
        tint = np.clip(chips[rng.integers(len(chips))] * rng.uniform(0.88, 1.08), 0, 1)
        outline = _chip(rng, x, y, radius) * (c.unit_px * zoom)
        points = [tuple(point) for point in outline.tolist()]
        ink_pen.polygon(points, fill=tuple(int(v * 255) for v in tint))
        cover_pen.polygon(points, fill=255)
    color = np.asarray(ink.reduce(zoom), np.float32) / np.float32(255)
    covered = np.asarray(cover.reduce(zoom), np.float32)[..., None] / np.float32(255)
    return np.clip(ground * (1 - covered) + color, 0, 1).astype(np.float32)


def _scatter(c: Canvas, rng: np.random.Generator, size: float) -> Array:
    """(N, 3) of x, y and radius of chips that hardly touch, the large ones placed first."""
    count = int(rng.uniform(800, 1200) / size**2)
    radius = np.sort(size * (0.007 + 0.02 * rng.random(count) ** 2.2))[::-1]
    spots = np.column_stack((rng.uniform(0, c.width, count), rng.uniform(0, c.height, count)))
    kept = np.zeros((count, 3), np.float32)
    placed = 0
    for spot, reach in zip(spots, radius, strict=True):
        others = kept[:placed]
        gap = np.hypot(others[:, 0] - spot[0], others[:, 1] - spot[1]) - others[:, 2]
        if placed == 0 or gap.min() > reach * 0.95:
            kept[placed] = (spot[0], spot[1], reach)
            placed += 1
    return kept[:placed]


def _chip(rng: np.random.Generator, x: float, y: float, radius: float) -> Array:
    """(K, 2) corners of a broken stone."""
    corners = int(rng.integers(5, 8))
    angles = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * (2 * np.pi / corners)
    reach = radius * rng.uniform(0.65, 1.1, corners)
    squash, turn = rng.uniform(0.6, 1.0), rng.uniform(0, np.pi)
    along, beside = reach * np.cos(angles), squash * reach * np.sin(angles)
    return np.column_stack(
        (
            x + along * np.cos(turn) - beside * np.sin(turn),
            y + along * np.sin(turn) + beside * np.cos(turn),
        )
    ).astype(np.float32)


def stone(c: Canvas, rng: np.random.Generator, base: Array) -> tuple[Array, Array]:
    """Cleft slate: its colour and its height (H, W), in flat layers that broke off one by one."""
    rough = c.noise(rng, 2.2, octaves=6, gain=0.5, stretch=(1.8, 1.0))
    steps = rough * np.float32(0.9) + 0.25 * c.noise(rng, 9, octaves=3)
    whole = np.floor(steps)
    layers = whole + smoothstep(0.0, 0.3, steps - whole)
    grit = c.noise(rng, 18, octaves=3, gain=0.7)
    height = 0.005 * layers + 0.006 * rough + 0.0011 * grit
    tint = rgb(3, 2, 0) * c.noise(rng, 1.8, octaves=3)[..., None]
    image = c.fill(base) * (1 + 0.07 * layers + 0.08 * rough + 0.06 * grit)[..., None] + tint
    return np.clip(image, 0, 1).astype(np.float32), height.astype(np.float32)


def concrete(c: Canvas, rng: np.random.Generator, base: Array) -> Array:
    """Cast concrete: mottled gray with clouds of fine cement and sparse air holes."""
    mottle = c.noise(rng, 2.4, octaves=6, gain=0.58)
    clouds = c.noise(rng, 1.4, octaves=3, stretch=(2.0, 0.8))
    holes = smoothstep(2.7, 3.2, c.noise(rng, 60, octaves=1))
    image = c.fill(base) * (1 + 0.05 * mottle + 0.035 * clouds)[..., None]
    return np.clip(image * (1 - 0.35 * holes)[..., None], 0, 1).astype(np.float32)


def plaster(c: Canvas, rng: np.random.Generator, base: Array) -> tuple[Array, Array]:
    """Trowelled lime plaster: its colour and the height (H, W) of the sweeps, in units."""
    small = canvas(max(c.width_px // 2, 8), max(c.height_px // 2, 8))
    height = 0.004 * small.noise(rng, 3, octaves=3)
    for _ in range(int(rng.integers(34, 46))):
        height = _sweep(small, rng, height)
    height = fit(height.astype(np.float32), c) + 0.0005 * c.noise(rng, 16, octaves=3, gain=0.6)
    pigment = c.noise(rng, 1.8, octaves=4)
    image = c.fill(base) * (1 + 0.03 * pigment)[..., None]
    return np.clip(image, 0, 1).astype(np.float32), height.astype(np.float32)


def _sweep(c: Canvas, rng: np.random.Generator, height: Array) -> Array:
    """One arc of the trowel: it levels a band and leaves a ridge along its outer edge."""
    reach, half = float(rng.uniform(0.25, 0.8)), float(rng.uniform(0.05, 0.11))
    x = float(rng.uniform(-0.2, 1.2) * c.width)
    y = float(rng.uniform(-0.1, 1.3) * c.height)
    start = float(rng.uniform(-np.pi, np.pi))
    right, down = c.x - np.float32(x), c.y - np.float32(y)
    across = (np.hypot(right, down) - np.float32(reach)) / np.float32(half)
    turned = np.cos(np.arctan2(down, right) - np.float32(start))
    inside = smoothstep(-1.0, 0.2, across) * smoothstep(1.2, 0.9, across)
    inside = inside * smoothstep(0.35, 0.85, turned)
    level = 0.006 * across + 0.0022 * smoothstep(0.6, 1.0, across) + 0.0006 * np.sin(across * 14)
    return mix(height, level + np.float32(rng.normal(0, 0.004)), 0.85 * inside)
