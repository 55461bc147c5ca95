"""Mountain ranges in haze, with snowy peaks, lakes and rocks in front."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, mix, smoothstep
from scripts.train_embedded.light import Light
from scripts.train_embedded.palette import rgb
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.skies import Sky, draw_sky
from scripts.train_embedded.terrain import Terrain, massif
from scripts.train_embedded.words import either, say

_ROCKS = (rgb(126, 122, 124), rgb(140, 124, 110), rgb(112, 116, 128), rgb(132, 118, 122))
_FIRS = (rgb(44, 70, 58), rgb(52, 76, 54), rgb(40, 64, 66))


def mountains(c: Canvas, rng: np.random.Generator) -> Scene:
    """Ridge behind ridge in the haze; in front a lake, a wooded slope or a ledge of rock."""
    time_of_day = str(rng.choice(("sunrise", "day", "sunset", "dusk"), p=(0.18, 0.5, 0.22, 0.1)))
    weather = str(rng.choice(("clear", "cloudy", "overcast"), p=(0.5, 0.4, 0.1)))
    front = str(rng.choice(("lake", "forest", "rock"), p=(0.36, 0.3, 0.34)))
    foot = c.height * float(rng.uniform(0.60, 0.70) if front == "lake" else rng.uniform(0.7, 0.8))
    above = draw_sky(c, rng, horizon=foot, time_of_day=time_of_day, weather=weather)
    snowy = bool(rng.random() < 0.5)
    image = _ranges(c, rng, above, foot, snowy)
    details = (either(rng, "snowy peaks", "snow-capped peaks"),) if snowy else ()
    ground = None
    if front == "lake":
        image = _lake(c, rng, image, above, foot)
        details = (*details, either(rng, "lake", "mountain lake", "reflection in a lake"))
        ground = Ground(
            0.2 * c.width, 0.8 * c.width, foot + 0.1, 0.97 * c.height, gloss=0.6, roughness=0.2
        )
    elif front == "forest":
        image = _wooded_slopes(c, rng, image, above, foot)
        details = (*details, either(rng, "fir trees", "pine trees"))
    else:
        top = float(c.height * rng.uniform(0.80, 0.86))
        image = _ledge(c, rng, image, above.light, top)
        details = (*details, either(rng, "rocky ledge", "rock in front"))
        ground = Ground(0.2 * c.width, 0.8 * c.width, top + 0.05, 0.97 * c.height)
    haze = (either(rng, "haze", "misty valleys"),) if rng.random() < 0.4 else ()
    phrases = (say(rng, "mountains"), *details, *haze, *above.phrases)
    return Scene(image, "mountains", phrases, above.light, above.colors, ground)


def _ranges(c: Canvas, rng: np.random.Generator, above: Sky, foot: float, snowy: bool) -> Array:
    """The sky with pale ridges far away and the main range before them."""
    image = above.image
    for far in (1.0, 0.6)[: int(rng.integers(1, 3))]:
        height = foot * (0.26 + 0.14 * far) * rng.uniform(0.85, 1.2)
        crest = _crest(c, rng, foot, height)
        row = max(int(crest.min() * c.unit_px) - 1, 0)
        depth = np.clip((c.y[row:] - crest) / np.float32(height), 0, 1)[..., None]
        tone = (_haze_color(above) * rgb(206, 216, 232)).astype(np.float32)
        body = mix(tone, above.horizon_color, 0.3 * far + 0.4 * depth)
        image = _before(c, image, body, crest, row)
    terrain = massif(c, rng, foot=foot, rise=foot * float(rng.uniform(0.56, 0.8)))
    body = _slopes(c, rng, above, terrain, snowy)
    return _before(c, image, body, terrain.top, terrain.row)


def _before(c: Canvas, image: Array, body: Array, crest: Array, row: int) -> Array:
    """The picture with a range before it that has its crest there and its rows from `row` on."""
    lower = mix(image[row:], body, c.aa(crest - c.y[row:]))
    return np.concatenate([image[:row], lower])


def _slopes(
    c: Canvas, rng: np.random.Generator, above: Sky, terrain: Terrain, snowy: bool
) -> Array:
    """Rock, woods at the foot and snow on top, with lit and shaded faces and haze between."""
    light = above.light
    side = float(np.sign(light.azimuth))
    facing = 0.75 * side * terrain.across + 0.35 * terrain.toward
    contrast = np.float32(1.15 - 0.7 * light.softness)
    sunlit = smoothstep(-0.85, 0.75, contrast * facing)
    key = np.minimum(0.98 * light.color + 0.36 * light.ambient, 1.25)
    shade = light.ambient * rgb(118, 128, 164)
    ragged = c.noise(rng, 9, octaves=4, gain=0.6)[terrain.row :]
    rock = _ROCKS[int(rng.integers(len(_ROCKS)))]
    firs = _FIRS[int(rng.integers(len(_FIRS)))] * np.float32(1.35)
    tree_line = np.float32(rng.uniform(0.05, 0.2)) + 0.03 * ragged
    wooded = smoothstep(tree_line + 0.03, tree_line - 0.03, terrain.height)
    ground = mix(rock, firs, 0.9 * wooded[..., None]) * (1 + 0.05 * ragged)[..., None]
    crowns = c.noise(rng, 30, octaves=2, gain=0.7, stretch=(0.7, 1.6))[terrain.row :]
    ground = ground * (1 + 0.10 * wooded * crowns)[..., None]
    body = ground * mix(shade, key, sunlit[..., None])
    if snowy:
        snow_line = np.float32(rng.uniform(0.3, 0.46)) + 0.04 * ragged - 0.06 * terrain.toward
        cover = smoothstep(snow_line - 0.03, snow_line + 0.03, terrain.height)
        bright = np.minimum(0.85 * light.color + 0.32 * light.ambient, 1)
        blue = np.minimum(light.ambient * rgb(196, 212, 252), 1)
        body = mix(body, mix(blue, bright, sunlit[..., None]), 0.94 * cover)
    air = 0.02 + 0.34 * terrain.distance + 0.2 * np.exp(-terrain.height / 0.12)
    return mix(body, _haze_color(above), np.clip(air, 0, 0.8))


def _haze_color(above: Sky) -> Array:
    """(3,) of the air between the ranges: the horizon's colour, bluer."""
    blue = above.horizon_color * rgb(214, 228, 250)
    return (0.75 * blue + 0.25 * above.zenith_color).astype(np.float32)


def _crest(c: Canvas, rng: np.random.Generator, foot: float, height: float) -> Array:
    """(1, W) y of a far ridge."""
    peaks = 1 - np.abs(c.line_noise(rng, 2.2, octaves=1)) * 0.6
    teeth = c.line_noise(rng, 6, octaves=4, gain=0.55)
    profile = 0.2 + 0.6 * np.clip(peaks, -0.2, 1) + 0.06 * teeth
    return (foot - height * profile).astype(np.float32)


def _lake(c: Canvas, rng: np.random.Generator, image: Array, above: Sky, shore: float) -> Array:
    """Still water that mirrors what stands above its far shore."""
    row = int(shore * c.unit_px)
    below = np.arange(c.height_px) - row
    rows = np.clip(row - 1 - below, 0, c.height_px - 1)
    mirrored = c.blur(image[rows], 0.004)
    depth = np.clip((c.y - np.float32(shore)) / np.float32(c.height - shore), 0, 1)
    ripples = c.noise(rng, 9, octaves=3, gain=0.6, stretch=(9.0, 0.9))
    shift = 0.012 * ripples * (0.3 + depth)
    moved = np.clip(
        (shift * c.unit_px).astype(np.intp) + np.arange(c.height_px)[:, None], row, None
    )
    moved = np.minimum(moved, c.height_px - 1)
    mirrored = np.take_along_axis(mirrored, moved[..., None], axis=0)
    deep = (rgb(24, 66, 84) * (0.4 * above.light.color + 0.6 * above.light.ambient)).astype(
        np.float32
    )
    water = mix(mirrored, deep, np.clip(0.16 + 0.42 * depth + 0.05 * ripples * depth, 0, 1))
    sheen = np.exp(-(((c.y - np.float32(shore)) / 0.008) ** 2))
    water = mix(water, above.horizon_color, 0.5 * sheen)
    return mix(image, water, c.aa(np.float32(shore) - c.y))


def _wooded_slopes(
    c: Canvas, rng: np.random.Generator, image: Array, above: Sky, foot: float
) -> Array:
    """Dark firs on the nearest slopes."""
    slant = rng.uniform(0.06, 0.2) * rng.choice((-1, 1))
    for rank in range(2):
        near = 0.5 + 0.5 * rank
        base = foot + (0.02 + 0.10 * rank) * c.height
        line = base + slant * (1 - 1.6 * rank) * (c.x[:1] / c.width - 0.5)
        line = line + 0.02 * c.line_noise(rng, 1.6, octaves=2)
        tips = _firs(c, rng, 16 - 5 * rank) * np.float32(0.035 + 0.035 * rank)
        top = line - tips
        tone = _FIRS[0] * (0.35 * above.light.color + 0.55 * above.light.ambient)
        fall = np.clip((c.y - top) / 0.25, 0, 1)
        mottle = 1 + 0.14 * c.noise(rng, 24, octaves=2, stretch=(0.7, 1.5)) * (1 - fall)
        body = tone * (mottle * (1 - 0.35 * fall))[..., None]
        body = mix(body.astype(np.float32), _haze_color(above), 0.34 * (1.15 - near))
        image = mix(image, body, c.aa(top - c.y))
    return image


def _firs(c: Canvas, rng: np.random.Generator, per_unit: int) -> Array:
    """(1, W) outline of pointed trees, 0 to about 1."""
    outline = np.zeros_like(c.x[:1])
    for _ in range(int(per_unit * c.width * 2.2)):
        center, height = rng.uniform(0, c.width), rng.uniform(0.45, 1.0)
        half = rng.uniform(0.35, 0.5) / per_unit * (0.6 + 0.4 * height)
        cone = height * (1 - np.abs(c.x[:1] - np.float32(center)) / np.float32(half))
        outline = np.maximum(outline, cone)
    return outline.astype(np.float32)


def _ledge(c: Canvas, rng: np.random.Generator, image: Array, light: Light, top: float) -> Array:
    """A flat shelf of stone across the foreground."""
    edge = top + 0.008 * c.line_noise(rng, 3, octaves=4, gain=0.6)
    depth = np.clip((c.y - edge) / np.float32(c.height - top), 0, 1)
    bumps = c.noise(rng, 5, octaves=6, gain=0.55, stretch=(2.6, 0.8))
    down, across = np.gradient(c.blur(bumps, 0.003))
    relief = 1.2 * down - 1.6 * np.float32(np.sign(light.azimuth)) * across
    level = 0.9 + (0.5 - 0.3 * light.softness) * relief + 0.05 * bumps
    level = level * (1.04 - 0.18 * depth)
    rock = _ROCKS[int(rng.integers(len(_ROCKS)))] * np.float32(1.08)
    key = 0.66 * light.color + 0.4 * light.ambient
    body = (rock * key * np.clip(level, 0.25, 1.3)[..., None]).astype(np.float32)
    return mix(image, body, c.aa(edge - c.y))
