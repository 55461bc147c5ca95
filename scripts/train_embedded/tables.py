"""Tabletops of wood, marble and stone before a backdrop out of focus."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded import materials
from scripts.train_embedded.canvas import (
    Array,
    Canvas,
    canvas,
    ground_plane,
    mix,
    sample,
    smoothstep,
)
from scripts.train_embedded.light import Light, emboss
from scripts.train_embedded.materials import MARBLE_TONES
from scripts.train_embedded.palette import rgb
from scripts.train_embedded.planks import boards
from scripts.train_embedded.rooms import Backdrop, backdrop
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.words import either, say

# Width and depth of the flat texture: near the camera one texel is about one pixel.
_TEXTURE_PX = (544, 304)

_TIMBERS = ("light wood", "wood", "walnut wood", "dark wood")


def wood_table(c: Canvas, rng: np.random.Generator) -> Scene:
    """A wooden tabletop whose boards run towards the backdrop or across."""
    edge = _edge(c, rng)
    behind = backdrop(c, rng, edge)
    tone = str(rng.choice(_TIMBERS))
    if rng.random() < 0.65:
        texture = _boards(canvas(*_TEXTURE_PX[::-1]), rng, tone).swapaxes(0, 1)
    else:
        texture = _boards(canvas(*_TEXTURE_PX), rng, tone)
    gloss = float(rng.uniform(0.05, 0.2))
    image = _compose(c, rng, behind, texture, edge, gloss)
    timber = {"wood": "", "walnut wood": "walnut "}.get(tone, tone.removesuffix("wood"))
    table = say(rng, "table")
    main = either(
        rng, f"{timber}wooden {table}", f"{timber}wooden {table}", f"{timber}wood {table}"
    )
    return _scene(c, image, "wood table", main, behind, edge, gloss)


def _boards(flat: Canvas, rng: np.random.Generator, tone: str) -> Array:
    """Long boards, closely joined."""
    return boards(flat, rng, tone, length=(1.8, 3.0), gap=0.0018)


def marble_table(c: Canvas, rng: np.random.Generator) -> Scene:
    """A polished marble tabletop that mirrors the backdrop a little."""
    edge = _edge(c, rng)
    behind = backdrop(c, rng, edge)
    name = str(rng.choice(("white", "white", "black", "green")))
    texture = materials.marble(canvas(*_TEXTURE_PX), rng, MARBLE_TONES[name])
    gloss = float(rng.uniform(0.18, 0.3))
    image = _compose(c, rng, behind, texture, edge, gloss)
    main = f"{say(rng, name)} marble {say(rng, 'table')}"
    return _scene(c, image, "marble table", main, behind, edge, gloss, (("table", name),))


def stone_table(c: Canvas, rng: np.random.Generator) -> Scene:
    """A rough dark slate tabletop."""
    edge = _edge(c, rng)
    behind = backdrop(c, rng, edge)
    base = rgb(70, 74, 80) * rng.uniform(0.75, 1.35)
    flat = canvas(*_TEXTURE_PX)
    color, height = materials.stone(flat, rng, base.astype(np.float32))
    texture = color * emboss(flat, height, behind.light)[..., None]
    image = _compose(c, rng, behind, texture, edge, 0.06)
    main = either(rng, "stone", "stone", "slate", "rough stone") + f" {say(rng, 'table')}"
    return _scene(c, image, "stone table", main, behind, edge, 0.06)


def _edge(c: Canvas, rng: np.random.Generator) -> float:
    """The y of the far edge of the table."""
    return c.height * float(rng.uniform(0.5, 0.68))


def _compose(
    c: Canvas, rng: np.random.Generator, behind: Backdrop, texture: Array, edge: float, gloss: float
) -> Array:
    """The lit table in perspective below `edge`, the backdrop above it."""
    first = max(int((edge - 0.02) * c.unit_px), 0)
    depth = (c.y[first:] - np.float32(edge)) / np.float32(c.height - edge)
    top = _perspective(c, rng, texture, edge, depth)
    top = top * _table_light(c.x[first:] / c.width - 0.5, behind.light, depth)
    top = _reflect(c, top, behind.image, edge, depth, gloss)
    soft = float(rng.uniform(0.004, 0.009))
    image = behind.image.copy()
    image[first:] = mix(image[first:], top, smoothstep(-soft, soft, c.y[first:] - np.float32(edge)))
    return np.clip(image, 0, 1)


def _perspective(
    c: Canvas, rng: np.random.Generator, texture: Array, edge: float, depth: Array
) -> Array:
    """The flat texture laid on the rows of the table, out of focus towards the far edge.

    Args:
        c: the canvas.
        rng: the picture's generator.
        texture: (h, w, 3), as deep and wide as _TEXTURE_PX says.
        edge: y of the far edge.
        depth: (rows, W) of the lowest rows: 0 at the far edge, 1 at the picture's lower edge.
    """
    first = c.height_px - depth.shape[0]
    rise = float(rng.uniform(0.7, 1.3))
    far = (1 + rise) / rise
    # Foreshortening is bounded so that the texture reaches the far edge without repeating.
    most = c.width * far / (far - 1) * _TEXTURE_PX[1] / _TEXTURE_PX[0]
    eye = min(float(rng.uniform(0.8, 1.1)), most)
    across, away = ground_plane(c, edge - (c.height - edge) * rise, eye)
    u = across[first:] / np.float32(c.width * far) + np.float32(0.5)
    v = (away[first:] - np.float32(eye)) / np.float32(most * (far - 1))
    near = sample(texture, u, v)
    return mix(c.blur(near, 0.011), near, smoothstep(0.0, 0.5, depth))


def _table_light(side: Array, light: Light, depth: Array) -> Array:
    """(rows, W, 3) light on the table: from the side, and a little less towards the camera.

    Args:
        side: (rows, W) from -0.5 at the left of the picture to 0.5 at the right.
        light: of the scene.
        depth: as in _perspective.
    """
    brightness = 0.92 + 0.32 * np.float32(light.azimuth) * side
    brightness = brightness - 0.16 * smoothstep(0.3, 1.1, depth)
    return (brightness[..., None] * light.color).astype(np.float32)


def _reflect(
    c: Canvas, top: Array, behind: Array, edge: float, depth: Array, gloss: float
) -> Array:
    """Adds the mirrored backdrop, stronger at the grazing far edge."""
    y = c.y[c.height_px - depth.shape[0] :, 0]
    rows = np.clip((2 * edge - y) * c.unit_px, 0, c.height_px - 1).astype(np.int32)
    mirrored = c.blur(behind[rows], 0.02)
    fresnel = np.float32(gloss) * (0.3 + 0.7 * smoothstep(1.0, 0.0, depth))
    return (top * (1 - 0.5 * fresnel)[..., None] + mirrored * fresnel[..., None]).astype(np.float32)


def _scene(
    c: Canvas,
    image: Array,
    kind: str,
    main: str,
    behind: Backdrop,
    edge: float,
    gloss: float,
    colors: tuple[tuple[str, str], ...] = (),
) -> Scene:
    """The scene of a finished picture of a table."""
    ground = Ground(
        left=c.width * 0.2,
        right=c.width * 0.8,
        far=edge + 0.25 * (c.height - edge),
        near=edge + 0.85 * (c.height - edge),
        gloss=gloss,
        roughness=0.35,
    )
    phrases = (main, *behind.phrases)
    return Scene(image, kind, phrases, behind.light, (*colors, *behind.colors), ground)
