"""City: a skyline of building silhouettes with windows, by day, at dusk and at night."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, ground_plane, mix, smoothstep
from scripts.train_embedded.light import Light
from scripts.train_embedded.palette import rgb
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.skies import draw_sky
from scripts.train_embedded.words import either, say

_TIMES = ("day", "sunrise", "sunset", "dusk", "night")
_FACADES = (rgb(126, 138, 152), rgb(150, 144, 138), rgb(104, 118, 138), rgb(166, 152, 140))
_NIGHT_FACADE = rgb(26, 30, 48)
_LAMPS = (rgb(255, 214, 138), rgb(255, 232, 186), rgb(255, 196, 112), rgb(206, 226, 255))


@dataclass(frozen=True, slots=True, eq=False)
class _Hour:
    """How the time of day lights the buildings.

    Attributes:
        light: of the sky.
        haze: (3,) far buildings turn into it.
        lit_windows: share of windows with a lamp on.
        darkness: 0 by day, 1 at night.
    """

    light: Light
    haze: Array
    lit_windows: float
    darkness: float


def city(c: Canvas, rng: np.random.Generator) -> Scene:
    """A skyline over a river, a haze of streets or the parapet of a roof terrace."""
    time = str(rng.choice(_TIMES, p=(0.28, 0.08, 0.2, 0.18, 0.26)))
    foreground = str(rng.choice(("river", "streets", "terrace"), p=(0.4, 0.32, 0.28)))
    share = {"river": (0.6, 0.7), "streets": (1.0, 1.04), "terrace": (0.68, 0.76)}[foreground]
    base = float(c.height * rng.uniform(*share))
    sky = draw_sky(c, rng, horizon=base, time_of_day=time)
    darkness = {"day": 0.0, "sunrise": 0.25, "sunset": 0.45, "dusk": 0.75, "night": 1.0}[time]
    haze = mix(sky.horizon_color, sky.zenith_color, 0.25 * float(0.0 < darkness < 0.9))
    haze = mix(haze, rgb(120, 92, 84), 0.3 * (darkness > 0.9))
    windows = {"day": 0.0, "sunrise": 0.06, "sunset": 0.16, "dusk": 0.36, "night": 0.46}[time]
    hour = _Hour(sky.light, haze, windows, darkness)
    image = _skyline(c, rng, sky.image, base, hour)
    ground = None
    phrases = [_main_phrase(rng), either(rng, "skyscrapers", "tall buildings", "towers")]
    if darkness > 0.6:
        phrases.append(either(rng, "lit windows", "city lights"))
    if foreground == "river":
        image = _river(c, rng, image, base, hour)
        phrases.append(either(rng, "river reflection", "reflected in a river"))
    elif foreground == "terrace":
        image = _terrace(c, rng, image, base, hour)
        phrases.append(either(rng, "rooftop terrace", "stone parapet"))
        ground = Ground(
            0.2 * c.width,
            0.8 * c.width,
            base + 0.35 * (c.height - base),
            c.height - 0.03,
            gloss=0.1,
        )
    return Scene(np.clip(image, 0, 1), "city", tuple(phrases), sky.light, ground=ground)


def _main_phrase(rng: np.random.Generator) -> str:
    """The city in words."""
    return say(rng, "city")


def _skyline(c: Canvas, rng: np.random.Generator, sky: Array, base: float, hour: _Hour) -> Array:
    """Three depths of buildings, the far ones pale."""
    image = np.array(sky, np.float32)
    tallest = min(base * 0.84, 0.78) * rng.uniform(0.78, 1.0)
    middle = c.width * rng.uniform(0.2, 0.8)
    for layer, clear in enumerate((0.28, 0.6, 0.95)):
        x = float(-rng.uniform(0, 0.06))
        reach = tallest * (1.0, 0.85, 0.55)[layer]
        while x < c.width:
            width = float(rng.uniform(0.06, 0.12) * (0.8 + 0.25 * layer))
            hump = 0.6 + 0.4 * np.exp(-(((x - middle) / (0.45 * c.width)) ** 2))
            height = float(reach * hump * rng.uniform(0.5, 1.0))
            _building(c, rng, image, x, base - height, width, base, clear, hour)
            x += width * rng.uniform(0.8, 1.15 if layer == 2 else 1.3)
        rows = c.window(0, base - 0.3, c.width, base)
        mist = np.exp((c.y[rows] - np.float32(base)) / np.float32(0.09)) * np.float32(0.3)
        image[rows] = mix(image[rows], np.broadcast_to(hour.haze, image[rows].shape), mist)
    return image


def _building(
    c: Canvas,
    rng: np.random.Generator,
    image: Array,
    x: float,
    top: float,
    width: float,
    base: float,
    clear: float,
    hour: _Hour,
) -> None:
    """Paints one building in place: a lit and a shaded face, windows, something on its roof."""
    day = _FACADES[rng.integers(len(_FACADES))] * np.float32(rng.uniform(0.75, 1.1))
    day = day * (0.3 + 0.7 * hour.light.color)
    facade = mix(day.astype(np.float32), _NIGHT_FACADE, min(1.0, hour.darkness * 1.05))
    color = mix(hour.haze, facade, clear)
    _roof(c, rng, image, x, top, width, color * np.float32(0.9))
    where = c.window(x, top, x + width, base)
    if not c.x[where].size:
        return  # it begins beyond the picture's edge
    across, down = c.x[where] - np.float32(x), c.y[where] - np.float32(top)
    mask = np.clip(np.minimum(across, width - across) * c.unit_px + 0.5, 0, 1)
    mask = mask * np.clip(down * c.unit_px + 0.5, 0, 1)
    corner = width * rng.uniform(0.6, 0.75)
    from_left = hour.light.azimuth < 0
    lit_face = (across < corner) if from_left else (across > width - corner)
    contrast = 0.3 * (1 - 0.6 * hour.darkness) * clear
    face = 1 + contrast * np.where(lit_face, 0.35, -0.65)
    wall = np.broadcast_to(color, (*mask.shape, 3)) * face[..., None]
    wall = _windows(c, rng, wall.astype(np.float32), across, down, clear, hour)
    image[where] = mix(image[where], np.clip(wall, 0, 1).astype(np.float32), mask)


def _roof(
    c: Canvas,
    rng: np.random.Generator,
    image: Array,
    x: float,
    top: float,
    width: float,
    color: Array,
) -> None:
    """A setback, an antenna, a pitched top or nothing, in place."""
    style = rng.choice(("flat", "setback", "antenna", "spire"), p=(0.42, 0.36, 0.17, 0.05))
    if style == "flat":
        return
    height = float(
        {"setback": 0.025, "antenna": 0.07, "spire": 0.09}[style] * rng.uniform(0.7, 1.3)
    )
    where = c.window(x, top - height, x + width, top)
    across = np.abs(c.x[where] - np.float32(x + width / 2))
    up = (np.float32(top) - c.y[where]) / np.float32(height)
    half = {
        "setback": width * 0.3 + 0 * up,
        "antenna": 0.0035 + 0.006 * (up < 0.3),
        "spire": width * 0.34 * (1 - up),
    }[style]
    mask = np.clip((half - across) * c.unit_px + 0.5, 0, 1) * (up <= 1)
    image[where] = mix(image[where], np.broadcast_to(color, (*mask.shape, 3)), mask)


def _windows(
    c: Canvas,
    rng: np.random.Generator,
    wall: Array,
    across: Array,
    down: Array,
    clear: float,
    hour: _Hour,
) -> Array:
    """Rows of panes; some are lit after dark, by day they mirror the sky a little darker."""
    pitch_x = float(rng.uniform(0.016, 0.022)) * (0.6 + 0.4 * clear)
    pitch_y = float(rng.uniform(0.019, 0.027)) * (0.6 + 0.4 * clear)
    columns, rows = np.floor(across / pitch_x), np.floor((down - 0.012) / pitch_y)
    ribbon = rng.random() < 0.25
    side = np.abs(across / pitch_x - columns - 0.5) * (0.0 if ribbon else 1.0)
    level = np.abs((down - 0.012) / pitch_y - rows - 0.5)
    softness = 0.75 / (pitch_x * c.unit_px)
    pane = smoothstep(0.3 + softness, 0.3 - softness, side)
    pane = pane * smoothstep(0.28 + softness, 0.28 - softness, level) * (rows >= 0)
    glass = mix(wall * np.float32(0.72), hour.haze * np.float32(0.8), 0.2)
    wall = mix(wall, glass, pane * np.float32((0.25 + 0.5 * clear) * (1 - 0.7 * hour.darkness)))
    if hour.lit_windows == 0:
        return wall
    lamps = rng.random((int(rows.max()) + 2, int(columns.max()) + 2))
    lamp = lamps[np.maximum(rows, 0).astype(int), np.maximum(columns, 0).astype(int)]
    share = hour.lit_windows * rng.uniform(0.4, 1.3)
    shine = np.where(lamp < share, 0.55 + 0.45 * lamp / share, 0).astype(np.float32)
    glow = _LAMPS[rng.integers(len(_LAMPS))]
    return mix(wall, np.broadcast_to(glow, wall.shape), pane * shine * np.float32(clear**0.6))


def _river(c: Canvas, rng: np.random.Generator, image: Array, base: float, hour: _Hour) -> Array:
    """Mirrors the skyline in rippled water below `base`."""
    depth = np.clip((c.y - base) / (c.height - base), 0, 1)
    ripples = c.noise(rng, 12, octaves=3, stretch=(5.0, 0.6))
    mirrored = 2 * base - c.y + (0.004 + 0.03 * depth) * ripples
    rows = np.clip(mirrored * c.unit_px, 0, c.height_px - 1).astype(np.int64)
    sway = (0.012 * depth * ripples * c.unit_px).astype(np.int64)
    columns = np.clip(np.arange(c.width_px)[None, :] + sway, 0, c.width_px - 1)
    smeared = c.blur(image, 0.004)[rows, columns]
    water = mix(rgb(58, 92, 112), rgb(10, 16, 34), hour.darkness)
    tone = 0.86 + 0.05 * ripples * depth
    river = mix(smeared * tone[..., None], c.fill(water), 0.18 + 0.3 * depth)
    bank = np.exp(-np.abs(c.y - base) / np.float32(0.006)) * np.float32(0.5)
    image = mix(image, river, smoothstep(-0.002, 0.002, c.y - base))
    return mix(image, c.fill(water * np.float32(0.6)), bank)


def _terrace(c: Canvas, rng: np.random.Generator, image: Array, base: float, hour: _Hour) -> Array:
    """A broad stone ledge in front of a skyline slightly out of focus."""
    image = c.blur(image, float(rng.uniform(0.0015, 0.004)))
    stone = mix(rgb(206, 198, 188), rgb(150, 146, 146), float(rng.random()))
    lit = 0.42 * hour.light.ambient + 0.58 * hour.light.color
    level = mix(lit.astype(np.float32), rgb(148, 112, 84), 0.5 * max(0.0, hour.darkness - 0.5))
    grain = 1 + 0.035 * c.noise(rng, 6, octaves=5, gain=0.7, stretch=(2.0, 0.7))
    across, away = ground_plane(c, base - 0.12)
    slab = float(rng.uniform(0.34, 0.5))
    shift = across / np.float32(slab) + np.float32(rng.random())
    joint = smoothstep(0.02, 0.006, np.abs(shift - np.round(shift)) * slab / away)
    side = (c.x / c.width - 0.5) * np.sign(hour.light.azimuth)
    depth = np.clip((c.y - base) / (c.height - base), 0, 1)
    tone = grain * (0.86 + 0.12 * depth + 0.16 * side) * (1 - 0.35 * joint)
    ledge = (stone * level) * tone[..., None]
    rows = np.clip((2 * base - c.y[:, 0]) * c.unit_px, 0, c.height_px - 1).astype(np.int64)
    sheen = c.blur(image, 0.02)[rows]
    ledge = ledge + (sheen - ledge) * np.float32(0.22) * (1 - depth[..., None])
    rim = np.exp(-np.abs(c.y - base - 0.004) / np.float32(0.004)) * np.float32(0.22)
    ledge = np.clip(ledge + rim[..., None] * hour.haze, 0, 1).astype(np.float32)
    return mix(image, ledge, smoothstep(-0.003, 0.003, c.y - base))
