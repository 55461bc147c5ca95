"""Cloth seen from above: draped satin and woven linen."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, smoothstep
from scripts.train_embedded.light import indoor
from scripts.train_embedded.palette import named, pick
from scripts.train_embedded.paper import expose, luminance
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.words import either, say

_LINEN_COLORS = ("beige", "white", "gray", "brown", "blue", "pink", "green", "mint", "peach")


def silk(c: Canvas, rng: np.random.Generator) -> Scene:
    """Satin in large flowing folds with smooth highlights."""
    light = indoor(rng)
    name = pick(rng)
    color = named(name, rng)
    height = _folds(c, rng)
    slope_y, slope_x = np.gradient(height, np.float32(1 / c.unit_px))
    angle = np.arctan2(-(0.4 + light.elevation), light.azimuth)
    facing = -(slope_x * np.cos(angle) + slope_y * np.sin(angle))
    facing = facing / np.float32(facing.std() + 1e-6)
    # Satin reflects in a broad lobe along the fold, then a narrow one at its crest.
    body = 0.27 + 0.69 * smoothstep(-1.7, 1.5, facing)
    sheen = smoothstep(0.2, 1.7, facing)
    crest = smoothstep(1.1, 2.3, facing)
    hollow = smoothstep(-0.4, -1.7, height - c.blur(height, 0.08))
    lit = body * (1 - 0.35 * hollow) + 0.2 * sheen
    image = expose(color, lit * (1.02 - 0.12 * luminance(color)), light)
    shine = 0.55 + 0.45 * color / color.max()
    gloss = (0.34 * sheen + 0.26 * crest) * (0.55 + 0.25 * luminance(color))
    image = 1 - (1 - image) * (1 - gloss[..., None] * shine)
    spoken = say(rng, name)
    return Scene(
        image=np.clip(image, 0, 1).astype(np.float32),
        kind="silk",
        phrases=(
            either(
                rng,
                f"{spoken} {say(rng, 'silk')}",
                f"{spoken} {say(rng, 'silk')} fabric",
                f"{spoken} {say(rng, 'silk')} cloth {say(rng, 'background')}",
                f"draped {spoken} {say(rng, 'silk')}",
            ),
            either(rng, "soft folds", "flowing folds", "smooth shiny folds"),
        ),
        light=light,
        colors=(("background", name),),
        ground=_lying(c, gloss=0.05),
    )


def linen(c: Canvas, rng: np.random.Generator) -> Scene:
    """Woven cloth laid flat, with a few low wrinkles."""
    light = indoor(rng)
    name = "beige" if rng.random() < 0.35 else pick(rng, among=_LINEN_COLORS)
    color = named(name, rng)
    relief = _wrinkles(c, rng)
    slope_y, slope_x = np.gradient(relief, np.float32(1 / c.unit_px))
    facing = -(slope_x * light.azimuth - slope_y * (0.3 + light.elevation))
    weave = _weave(c, rng, slope_x, slope_y)
    across = (c.x / c.width - 0.5) * np.float32(light.azimuth)
    lit = (0.86 + 0.2 * across) * (1 + 0.85 * np.tanh(facing)) * (1 + weave)
    image = expose(color, lit.astype(np.float32), light)
    spoken = say(rng, name)
    natural = ("natural linen",) if name == "beige" else ()
    return Scene(
        image=image,
        kind="linen",
        phrases=(
            either(
                rng,
                f"{spoken} {say(rng, 'linen')}",
                f"{spoken} {say(rng, 'linen')} {say(rng, 'background')}",
                f"{spoken} {say(rng, 'linen')} texture",
            ),
            either(rng, "woven texture", "visible weave", "woven fabric", *natural),
        ),
        light=light,
        colors=(("background", name),),
        ground=_lying(c),
    )


def _lying(c: Canvas, gloss: float = 0.0) -> Ground:
    return Ground(
        left=0.22 * c.width,
        right=0.78 * c.width,
        far=0.3 * c.height,
        near=0.9 * c.height,
        gloss=gloss,
        roughness=0.9,
        upright=False,
    )


def _folds(c: Canvas, rng: np.random.Generator) -> Array:
    """Height of large folds that run one way, bend, part and close again; about -2 to 2."""
    angle = rng.uniform(0, np.pi)
    along = c.x * np.cos(angle) + c.y * np.sin(angle)
    across = c.y * np.cos(angle) - c.x * np.sin(angle)
    bend = c.noise(rng, 1.1, octaves=2, gain=0.4)
    part = c.noise(rng, 1.5, octaves=2, gain=0.45)
    phase = across * rng.uniform(11, 17) + along * rng.uniform(-2, 2) + rng.uniform(0.9, 1.5) * bend
    phase = phase + rng.uniform(0, 6)
    # A sine led by itself leans over: one flank is long and soft, the other steep.
    large = np.sin(phase + 0.5 * np.sin(phase))
    small = np.sin(phase * rng.uniform(1.7, 2.2) + 1.6 * part + 2.0)
    return (large + 0.38 * small * smoothstep(-1.2, 1.2, bend) + 0.3 * part).astype(np.float32)


def _wrinkles(c: Canvas, rng: np.random.Generator) -> Array:
    """Height of a cloth lying nearly flat."""
    soft = 0.02 * c.noise(rng, 1.6, octaves=2)
    creases = np.zeros_like(soft)
    for _ in range(int(rng.integers(1, 4))):
        angle = rng.uniform(0, np.pi)
        offset = rng.uniform(0.15, 0.85)
        across = (c.x - c.width / 2) * np.sin(angle) + (c.y - c.height / 2) * np.cos(angle)
        wander = across - (offset - 0.5) * 0.9 + 0.035 * c.noise(rng, 1.2, octaves=2)
        width = rng.uniform(0.02, 0.045)
        creases += rng.uniform(0.5, 1.0) * width * 0.5 * np.exp(-((wander / width) ** 2))
    return soft + creases


def _weave(c: Canvas, rng: np.random.Generator, bend_x: Array, bend_y: Array) -> Array:
    """Plain weave: threads that pass over and under each other, uneven as flax is."""
    pitch = np.float32(rng.uniform(0.0155, 0.021))
    column, row = (c.x + 0.03 * bend_x) / pitch, (c.y + 0.03 * bend_y) / pitch
    over = np.sin(np.pi * column) * np.sin(np.pi * row)
    gaps = -np.maximum(np.cos(2 * np.pi * column), np.cos(2 * np.pi * row))
    slubs = c.noise(rng, 40, octaves=1, stretch=(9, 0.7)) + c.noise(
        rng, 40, octaves=1, stretch=(0.7, 9)
    )
    return (0.1 * over + 0.08 * gaps + 0.05 * slubs).astype(np.float32)
