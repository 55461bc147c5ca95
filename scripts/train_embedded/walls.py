"""Walls that fill the picture: brick, concrete, plaster and ceramic tiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.train_embedded import materials
from scripts.train_embedded.canvas import Array, Canvas, mix, smoothstep
from scripts.train_embedded.light import Light, emboss, falloff, indoor
from scripts.train_embedded.palette import named, rgb
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.words import either, say

# colour name: face, burnt or weathered face, mortar
_BRICKS: dict[str, tuple[Array, Array, Array]] = {
    "red": (rgb(158, 68, 54), rgb(116, 48, 42), rgb(196, 184, 172)),
    "white": (rgb(236, 233, 227), rgb(220, 215, 207), rgb(206, 201, 194)),
    "gray": (rgb(132, 134, 138), rgb(98, 100, 106), rgb(186, 186, 184)),
    "brown": (rgb(116, 84, 62), rgb(78, 58, 46), rgb(172, 160, 144)),
}
_PLASTERS = ("beige", "peach", "pink", "mint", "lavender", "orange", "teal", "brown", "white")
_TILES = ("white", "white", "white", "green", "blue", "teal", "navy", "pink", "mint", "black")


@dataclass(frozen=True, slots=True, eq=False)
class _WallView:
    """Where each pixel lies on a wall: `u`, `v` (H, W) in units at the middle of the picture."""

    u: Array
    v: Array
    slant: float


def _wall_view(c: Canvas, rng: np.random.Generator, slanted_share: float) -> _WallView:
    """The wall straight on, or turned a little about the vertical."""
    slant = 0.0
    if rng.random() < slanted_share:
        slant = float(rng.uniform(0.25, 0.5) * rng.choice((-1, 1)))
    shift = rng.uniform(0, 1, 2)
    right, down = c.x - np.float32(c.width / 2), c.y - np.float32(c.height / 2)
    scale = 1 / (1 - np.float32(slant) * right)
    u, v = right * scale + np.float32(shift[0]), down * scale + np.float32(shift[1])
    return _WallView(u.astype(np.float32), v.astype(np.float32), slant)


def _lay_floor(
    c: Canvas, rng: np.random.Generator, wall: Array, light: Light, slant: float, color: Array
) -> tuple[Array, Ground]:
    """A strip of floor before the wall, with the soft dark line where they meet."""
    level = c.height * float(rng.uniform(0.74, 0.82))
    foot = level + (c.height / 2 - level) * np.float32(slant) * (c.x - c.width / 2)
    below = (c.y - foot).astype(np.float32)
    mottle = c.noise(rng, 3, octaves=5, gain=0.55, stretch=(3.0, 0.8))
    near = smoothstep(0.0, 0.25, below)
    floor = color * falloff(c, light, 0.35) * (0.82 + 0.22 * near + 0.035 * mottle)[..., None]
    contact = 1 - 0.3 * np.exp(-np.abs(below) / np.float32(0.035))
    image = mix(wall, floor.astype(np.float32), c.aa(-below)) * contact[..., None]
    ground = Ground(
        left=c.width * 0.22,
        right=c.width * 0.78,
        far=min(level + 0.05, c.height * 0.9),
        near=c.height * 0.95,
        gloss=0.12,
        roughness=0.7,
    )
    return image, ground


def brick(c: Canvas, rng: np.random.Generator) -> Scene:
    """A brick wall in running bond under light from the side."""
    name = str(rng.choice(tuple(_BRICKS)))
    light = indoor(rng, warm=float(rng.uniform(-0.3, 0.2)))
    view = _wall_view(c, rng, 0.35)
    image = _bricks(c, rng, view, name, light)
    image = image * falloff(c, light, float(rng.uniform(0.4, 0.7)))
    color = say(rng, name)
    phrases = [either(rng, f"{color} brick wall", f"{color} brick wall", f"wall of {color} bricks")]
    ground = None
    if rng.random() < 0.35:
        floor = rgb(146, 140, 134) if rng.random() < 0.6 else rgb(132, 100, 72)
        image, ground = _lay_floor(c, rng, image, light, view.slant, floor)
        phrases.append(either(rng, "floor", "floor in front"))
    if view.slant:
        phrases.append(either(rng, "seen at an angle", "angled view"))
    return Scene(
        np.clip(image, 0, 1), "brick wall", tuple(phrases), light, (("wall", name),), ground
    )


def _bricks(c: Canvas, rng: np.random.Generator, view: _WallView, name: str, light: Light) -> Array:
    """Colour of the wall in even light, bricks shaded as a relief."""
    face, burnt, joint = _BRICKS[name]
    tall = float(rng.uniform(0.062, 0.1))
    long = tall * float(rng.uniform(2.7, 3.2))
    wobble = c.noise(rng, 18, octaves=2) * np.float32(0.018 * tall)
    row_at = (view.v + wobble) / tall
    row = np.floor(row_at).astype(np.int32)
    column_at = (view.u + wobble) / long + 0.5 * (row % 2)
    column = np.floor(column_at).astype(np.int32)
    up_down, left_right = row_at - row, column_at - column
    edge = np.minimum(
        np.minimum(up_down, 1 - up_down) * tall, np.minimum(left_right, 1 - left_right) * long
    )
    gap = float(rng.uniform(0.0045, 0.0065))
    proud = smoothstep(gap * 0.6, gap * 1.7, edge)
    table = rng.random((3, 64, 64)).astype(np.float32)
    tone, heat, depth = (plane[row % 64, column % 64] for plane in table)
    rough = c.noise(rng, 16, octaves=4, gain=0.65)
    faces = mix(c.fill(face), c.fill(burnt), smoothstep(0.35, 1.0, heat))
    spread = 0.08 if name == "white" else 0.26
    faces = faces * (1 + spread * (tone - 0.5) + 0.04 * rough)[..., None]
    joints = c.fill(joint) * (0.92 + 0.04 * rough)[..., None]
    height = proud * (0.004 + 0.003 * depth) + 0.0004 * rough
    return mix(joints, faces, proud) * emboss(c, height, light)[..., None]


def concrete(c: Canvas, rng: np.random.Generator) -> Scene:
    """A fair-faced concrete wall: joints of the formwork, tie holes, stains."""
    light = indoor(rng, warm=float(rng.uniform(-0.4, 0.15)))
    view = _wall_view(c, rng, 0.2)
    base = rgb(1, 1, 1) * rng.uniform(128, 182) + rgb(2, 1, 0) * rng.uniform(-2, 2)
    image = materials.concrete(c, rng, base)
    wide, tall = float(rng.uniform(0.42, 0.62)), float(rng.uniform(0.34, 0.5))
    column, row = np.floor(view.u / wide), np.floor(view.v / tall)
    along, down = view.u - wide * column, view.v - tall * row
    tones = rng.normal(0, 0.03, (16, 16)).astype(np.float32)
    panel = tones[row.astype(np.int32) % 16, column.astype(np.int32) % 16]
    edge = np.minimum(np.minimum(along, wide - along), np.minimum(down, tall - down))
    joint = smoothstep(0.0055, 0.002, edge)
    hole = np.hypot(
        np.minimum(along, wide - along) - np.float32(0.2 * wide),
        np.minimum(down, tall - down) - np.float32(0.22 * tall),
    )
    radius = float(rng.uniform(0.011, 0.015))
    streaks = np.clip(c.noise(rng, 5, octaves=3, stretch=(0.5, 5.0)), 0, 2)
    stain = streaks * smoothstep(0.9 * tall, 0.0, down)
    height = -0.006 * joint - 0.012 * smoothstep(radius, radius * 0.6, hole)
    dark = 1 - 0.25 * joint - 0.45 * smoothstep(radius, radius * 0.7, hole) - 0.045 * stain
    image = image * ((1 + panel) * dark * emboss(c, height, light))[..., None]
    image = image * falloff(c, light, float(rng.uniform(0.35, 0.65)))
    phrases = [either(rng, "concrete wall", "concrete wall", "bare concrete wall")]
    ground = None
    if rng.random() < 0.35:
        image, ground = _lay_floor(c, rng, image, light, view.slant, base * 0.92)
        phrases.append("concrete floor")
    return Scene(np.clip(image, 0, 1), "concrete wall", tuple(phrases), light, (), ground)


def plaster(c: Canvas, rng: np.random.Generator) -> Scene:
    """A wall of trowelled plaster in a chalky colour, its sweeps raked by the light."""
    name = str(rng.choice(_PLASTERS))
    light = indoor(rng, warm=float(rng.uniform(-0.3, 0.2)))
    chalky = named(name, rng) * 0.9 + rgb(236, 228, 216) * 0.1
    image, height = materials.plaster(c, rng, chalky.astype(np.float32))
    image = image * emboss(c, height * np.float32(rng.uniform(0.6, 1.0)), light)[..., None]
    image = image * falloff(c, light, float(rng.uniform(0.3, 0.55)))
    color = say(rng, name)
    main = either(
        rng, f"{color} plaster wall", f"{color} textured plaster wall", f"{color} stucco wall"
    )
    phrases = [main]
    if rng.random() < 0.6:
        phrases.append(either(rng, "trowel strokes", "rough plaster texture"))
    return Scene(np.clip(image, 0, 1), "plaster wall", tuple(phrases), light, (("wall", name),))


@dataclass(frozen=True, slots=True, eq=False)
class _Tiling:
    """Where each pixel lies in its tile.

    Attributes:
        right: (H, W) from the middle of the tile, in units.
        down: as `right`, downwards.
        edge: (H, W) distance to the edge of the tile, in units.
        row: (H, W) index of the tile.
        column: as `row`.
    """

    right: Array
    down: Array
    edge: Array
    row: materials.NDInt
    column: materials.NDInt


def tiles(c: Canvas, rng: np.random.Generator) -> Scene:
    """Glazed ceramic tiles, each with its own glint of the light."""
    name = str(rng.choice(_TILES))
    light = indoor(rng, warm=float(rng.uniform(-0.3, 0.2)))
    view = _wall_view(c, rng, 0.2)
    shape = str(rng.choice(("square", "subway", "hexagonal")))
    tiling, size = _tiling(rng, view, shape)
    glaze = named(name, rng, 0.012) * 0.94 + 0.03
    image = _glazed(c, rng, tiling, size, glaze.astype(np.float32), light)
    color = say(rng, name)
    word = either(rng, "subway", "metro") if shape == "subway" else shape
    main = either(
        rng, f"{color} ceramic tiles", f"{color} {word} tiles", f"{color} {word} tile wall"
    )
    phrases = [main]
    if word not in main:
        phrases.append(f"{word} tiles")
    phrases.append(either(rng, "glossy tile wall", "glossy glaze"))
    return Scene(np.clip(image, 0, 1), "tile wall", tuple(phrases), light, (("wall", name),))


def _tiling(rng: np.random.Generator, view: _WallView, shape: str) -> tuple[_Tiling, float]:
    """The tile each pixel belongs to, and the height of a tile."""
    if shape == "hexagonal":
        size = float(rng.uniform(0.13, 0.2))
        return _hexagons(view, size), size
    tall = float(rng.uniform(0.11, 0.18) if shape == "square" else rng.uniform(0.085, 0.115))
    wide = tall if shape == "square" else 2.05 * tall
    row = np.floor(view.v / tall).astype(np.int32)
    offset = 0.5 * (row % 2) if shape == "subway" else np.float32(0)
    column = np.floor(view.u / wide + offset).astype(np.int32)
    right = view.u - (column + np.float32(0.5) - offset) * np.float32(wide)
    down = view.v - (row + np.float32(0.5)) * np.float32(tall)
    edge = np.minimum(wide / 2 - np.abs(right), tall / 2 - np.abs(down))
    return _Tiling(
        right.astype(np.float32), down.astype(np.float32), edge.astype(np.float32), row, column
    ), tall


def _hexagons(view: _WallView, size: float) -> _Tiling:
    """Upright hexagons `size` wide: the nearer centre of two interleaved grids."""
    pitch = np.float32(size * np.sqrt(3))
    tilings = []
    for odd in (0, 1):
        column = np.floor(view.u / size + 0.5 * odd).astype(np.int32)
        row = np.floor(view.v / pitch + 0.5 * odd).astype(np.int32)
        right = view.u - (column + np.float32(0.5 - 0.5 * odd)) * np.float32(size)
        down = view.v - (row + np.float32(0.5 - 0.5 * odd)) * pitch
        reach = np.maximum(
            np.abs(right), np.abs(right) * 0.5 + np.abs(down) * np.float32(np.sqrt(0.75))
        )
        tilings.append((right, down, np.float32(size / 2) - reach, 2 * row + odd, column))
    first = tilings[0][2] > tilings[1][2]
    return _Tiling(*(np.where(first, a, b) for a, b in zip(*tilings, strict=True)))


def _glazed(
    c: Canvas, rng: np.random.Generator, tiling: _Tiling, size: float, glaze: Array, light: Light
) -> Array:
    """Tiles and grout, lit: a pillowed face mirrors a window, a rounded edge catches light."""
    grout_half = 0.0045
    body = smoothstep(grout_half * 0.5, grout_half * 1.3, tiling.edge)
    round_edge = smoothstep(grout_half + 0.016, grout_half, tiling.edge)
    table = rng.normal(0, 1, (3, 64, 64)).astype(np.float32)
    tone, tilt_x, tilt_y = (plane[tiling.row % 64, tiling.column % 64] for plane in table)
    across = tiling.right / np.float32(size) + 0.05 * tilt_x
    upright = tiling.down / np.float32(size) + 0.05 * tilt_y
    leaning = across - np.float32(0.2 * np.sign(light.azimuth)) + 0.15 * upright
    glint = smoothstep(0.16, 0.06, np.abs(leaning))
    glint = glint * smoothstep(0.3, 0.05, np.abs(upright + np.float32(0.08)))
    lamp_x, lamp_y = c.width * (0.5 + 0.35 * light.azimuth), c.height * rng.uniform(0.1, 0.5)
    facing = np.exp(-((c.distance(lamp_x, float(lamp_y)) / np.float32(0.55)) ** 2))
    glint = glint * np.clip(0.3 + 0.7 * facing + 0.1 * tilt_x, 0, 1)
    sheen = smoothstep(-0.6, 0.7, across * np.float32(np.sign(light.azimuth)) - upright)
    bright = float(glaze.mean())
    face = c.fill(glaze) * (0.85 + 0.04 * tone + 0.17 * sheen)[..., None]
    height = np.float32(0.0035) * (1 - round_edge) ** 2
    face = face * emboss(c, height, light)[..., None]
    grout = rgb(206, 204, 200) if bright < 0.7 else rgb(176, 174, 170)
    image = mix(c.fill(grout), face, body) * falloff(c, light, float(rng.uniform(0.3, 0.5)))
    shine = 0.62 * glint * body
    return mix(image, c.fill(np.minimum(light.color, 1)), shine)
