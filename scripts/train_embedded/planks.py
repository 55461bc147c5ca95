"""Boards and slabs that fill the picture: surfaces for flat lays."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded import materials
from scripts.train_embedded.canvas import Array, Canvas, canvas, smoothstep
from scripts.train_embedded.light import falloff, indoor
from scripts.train_embedded.materials import MARBLE_TONES, TERRAZZO_TONES, WOOD_TONES
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.words import either, say


def planks(c: Canvas, rng: np.random.Generator) -> Scene:
    """Wooden boards side by side, lying or as a wall."""
    tone = str(rng.choice(tuple(WOOD_TONES)))
    vertical = bool(rng.random() < 0.5)
    wall = bool(rng.random() < 0.35)
    light = indoor(rng, warm=float(rng.uniform(-0.3, 0.2)))
    if vertical:
        image = boards(canvas(c.height_px, c.width_px), rng, tone).swapaxes(0, 1)
    else:
        image = boards(c, rng, tone)
    image = image * falloff(c, light, float(rng.uniform(0.25, 0.35 if "white" in tone else 0.6)))
    phrases = [
        _name_boards(rng, tone, wall=wall),
        f"{'vertical' if vertical else 'horizontal'} boards",
    ]
    if not wall:
        phrases.append(either(rng, "top view", "flat lay", "seen from above"))
    ground = None if wall else _lying(c, gloss=0.0)
    colors = (("planks", "white"),) if tone == "white painted wood" else ()
    return Scene(np.clip(image, 0, 1), "planks", tuple(phrases), light, colors, ground)


def boards(
    c: Canvas,
    rng: np.random.Generator,
    tone: str,
    *,
    length: tuple[float, float] = (0.9, 1.6),
    gap: float = 0.0028,
) -> Array:
    """Boards along x in even light, each of its own shade, with dark gaps and butt joints.

    Args:
        c: the canvas.
        rng: the picture's generator.
        tone: key of WOOD_TONES.
        length: of a board, in units, from and to.
        gap: half the space between two boards, in units.
    """
    wide = float(rng.uniform(0.12, 0.22))
    long = float(rng.uniform(*length))
    level = c.y / np.float32(wide) + np.float32(rng.random())
    row = np.floor(level).astype(np.int32)
    rows = int(row.max()) + 1
    starts = rng.uniform(0, 1, rows).astype(np.float32)
    place = c.x / np.float32(long) + starts[row]
    column = np.floor(place).astype(np.int32)
    board = row * (int(column.max()) + 1) + column
    across = (level - row - np.float32(0.5)) * np.float32(wide)
    wood_tone = WOOD_TONES[tone]
    image = materials.wood(
        c, rng, wood_tone, across=across, board=board, knots=int(rng.integers(2, 7))
    )
    shade = rng.normal(0, 0.03 if "white" in tone else 0.09, int(board.max()) + 1)
    image = image * (1 + np.clip(shade, -0.2, 0.2).astype(np.float32)[board])[..., None]
    ends = np.minimum(place - column, 1 - (place - column)) * np.float32(long)
    edge = np.minimum(np.float32(wide / 2) - np.abs(across), ends)
    crack = smoothstep(2 * gap, 0.7 * gap, edge)
    rounded = smoothstep(0.022, 0.004, edge)
    depth = 0.62 if "white" in tone else 0.8
    return np.clip(image * ((1 - 0.16 * rounded) * (1 - depth * crack))[..., None], 0, 1)


def _name_boards(rng: np.random.Generator, tone: str, *, wall: bool) -> str:
    """The main phrase: the timber and that it is boards."""
    timber = {"wood": "", "walnut wood": "walnut "}.get(tone, tone.removesuffix("wood"))
    if tone == "white painted wood":
        timber = f"{say(rng, 'white')} painted "
    if wall:
        return either(rng, f"{timber}wooden plank wall", f"{timber}wood plank wall")
    return either(rng, f"{timber}wooden planks", f"{timber}wood planks", f"{timber}wooden boards")


def marble(c: Canvas, rng: np.random.Generator) -> Scene:
    """A polished marble slab seen from above."""
    name = str(rng.choice(("white", "white", "black", "green")))
    light = indoor(rng, warm=float(rng.uniform(-0.3, 0.2)))
    image = materials.marble(c, rng, MARBLE_TONES[name])
    image = _polish(c, rng, image) * falloff(c, light, float(rng.uniform(0.2, 0.4)))
    color = say(rng, name)
    phrases = (
        either(rng, f"{color} marble", f"{color} marble surface", f"{color} marble slab"),
        either(rng, "veins", "marble veins"),
        either(rng, "top view", "flat lay", "seen from above"),
    )
    return Scene(
        np.clip(image, 0, 1), "marble", phrases, light, (("marble", name),), _lying(c, gloss=0.25)
    )


def terrazzo(c: Canvas, rng: np.random.Generator) -> Scene:
    """A terrazzo slab seen from above."""
    name = str(rng.choice(tuple(TERRAZZO_TONES)))
    light = indoor(rng, warm=float(rng.uniform(-0.3, 0.2)))
    base, chips = TERRAZZO_TONES[name]
    image = materials.terrazzo(c, rng, base, chips, float(rng.uniform(0.95, 1.35)))
    image = _polish(c, rng, image) * falloff(c, light, float(rng.uniform(0.2, 0.4)))
    color = say(rng, name)
    phrases = (
        either(rng, f"{color} terrazzo", f"{color} terrazzo surface", f"{color} terrazzo slab"),
        either(rng, "colorful stone chips", "stone chips"),
        either(rng, "top view", "flat lay", "seen from above"),
    )
    return Scene(
        np.clip(image, 0, 1),
        "terrazzo",
        phrases,
        light,
        (("terrazzo", name),),
        _lying(c, gloss=0.2),
    )


def _polish(c: Canvas, rng: np.random.Generator, image: Array) -> Array:
    """Adds the wide faint glare of a softbox on a polished slab."""
    x, y = rng.uniform(0, c.width), rng.uniform(-0.1, 0.3) * c.height
    glare = np.exp(-((c.distance(float(x), float(y)) / np.float32(0.45)) ** 2))
    return (image + 0.07 * glare[..., None]).astype(np.float32)


def _lying(c: Canvas, *, gloss: float) -> Ground:
    """A surface looked straight down on."""
    return Ground(
        left=c.width * 0.25,
        right=c.width * 0.75,
        far=c.height * 0.3,
        near=c.height * 0.9,
        gloss=gloss,
        roughness=0.4,
        upright=False,
    )
