"""The open sea and the beach."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.canvas import (
    Array,
    Canvas,
    canvas,
    ground_plane,
    mix,
    sample,
    smoothstep,
)
from scripts.train_embedded.palette import rgb
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.skies import Sky, draw_sky
from scripts.train_embedded.words import either, say

_TIMES = ("sunrise", "day", "sunset", "dusk", "night")
# The body of the water where it mirrors no sky; by day one of several.
_DAY_DEPTHS = (rgb(14, 74, 116), rgb(16, 92, 124), rgb(12, 108, 132), rgb(30, 78, 104))
_SANDS = (rgb(228, 206, 168), rgb(236, 220, 190), rgb(216, 188, 146), rgb(242, 232, 214))


def sea(c: Canvas, rng: np.random.Generator) -> Scene:
    """Open water to a clear horizon."""
    time_of_day = str(rng.choice(_TIMES, p=(0.14, 0.48, 0.22, 0.1, 0.06)))
    horizon = c.height * float(rng.uniform(0.34, 0.52))
    weather = str(rng.choice(("clear", "cloudy", "overcast", "stormy"), p=(0.4, 0.42, 0.1, 0.08)))
    if weather == "stormy" or (weather == "overcast" and time_of_day == "night"):
        time_of_day = "day"
    above = draw_sky(c, rng, horizon=horizon, time_of_day=time_of_day, weather=weather)
    rough = float(rng.uniform(0.75, 1.0) if weather == "stormy" else rng.uniform(0.15, 0.8))
    water = _water(c, rng, above, horizon, _depth_color(rng, above), rough)
    image = _under_sky(c, above, water, horizon)
    name = say(rng, "sea")
    main = either(rng, name, f"{name} horizon") if name != "open water" else name
    state = "waves" if rough > 0.5 else "calm water" if rough < 0.35 else "rippled water"
    ground = Ground(
        0.2 * c.width,
        0.8 * c.width,
        horizon + 0.35 * (c.height - horizon),
        0.97 * c.height,
        gloss=0.45,
        roughness=0.3 + 0.5 * rough,
    )
    return Scene(image, "sea", (main, state, *above.phrases), above.light, above.colors, ground)


def beach(c: Canvas, rng: np.random.Generator) -> Scene:
    """Sand in front, a foam line, the sea and the sky behind."""
    time_of_day = str(rng.choice(_TIMES[:4], p=(0.13, 0.6, 0.21, 0.06)))
    horizon = c.height * float(rng.uniform(0.26, 0.40))
    weather = str(rng.choice(("clear", "cloudy", "overcast"), p=(0.45, 0.47, 0.08)))
    above = draw_sky(c, rng, horizon=horizon, time_of_day=time_of_day, weather=weather)
    shore = _shore_line(c, rng, horizon)
    inland = (c.y - shore)[_first_row(c, horizon) :]
    deep = _depth_color(rng, above)
    water = _water(c, rng, above, horizon, deep, float(rng.uniform(0.15, 0.4)))
    water = _shallows(c, above, water, inland, horizon)
    sand = _wet(c, rng, above, _sand(c, rng, above, horizon), inland)
    land = mix(water, sand, smoothstep(-0.006, 0.006, inland))
    land = _surf(c, rng, above, land, inland, horizon)
    image = _under_sky(c, above, land, horizon)
    phrases = (say(rng, "beach"), either(rng, "sand", "fine sand", "sandy shore"), say(rng, "sea"))
    far = float(min(shore.max() + 0.10, 0.86 * c.height))
    ground = Ground(0.15 * c.width, 0.85 * c.width, far, 0.97 * c.height, gloss=0.06, roughness=0.7)
    details = (*above.phrases, either(rng, "foam", "gentle waves", "surf"))
    return Scene(image, "beach", (*phrases, *details), above.light, above.colors, ground)


def _first_row(c: Canvas, horizon: float) -> int:
    """The first row of pixels that the horizon's line touches: water and sand start there."""
    return max(int(horizon * c.unit_px) - 1, 0)


def _under_sky(c: Canvas, above: Sky, lower: Array, horizon: float) -> Array:
    """The sky with the rows from the horizon down laid before it."""
    row = _first_row(c, horizon)
    edge = c.aa(np.float32(horizon) - c.y[row:])
    return np.concatenate([above.image[:row], mix(above.image[row:], lower, edge)])


def _depth_color(rng: np.random.Generator, above: Sky) -> Array:
    """(3,) of the water's body under that sky."""
    time_of_day = above.light.time_of_day
    depth = _DAY_DEPTHS[int(rng.integers(len(_DAY_DEPTHS)))]
    if time_of_day != "day":
        level = {"sunrise": 0.62, "sunset": 0.6, "dusk": 0.6, "night": 0.2}[str(time_of_day)]
        depth = np.float32(level) * (0.3 * depth + 0.7 * above.zenith_color)
    if above.overcast:
        depth = 0.55 * depth + 0.45 * depth.mean() * above.zenith_color
    return depth.astype(np.float32)


def _swell(c: Canvas, rng: np.random.Generator, horizon: float) -> Array:
    """Slope of the waves towards the eye, variance about 1, dying away with distance."""
    row = _first_row(c, horizon)
    across, away = (plane[row:] for plane in ground_plane(c, horizon))
    below = np.maximum(c.y[row:] - np.float32(horizon), 1e-3)
    texture = canvas(256, 256).noise(rng, 12, octaves=3, gain=0.5, stretch=(2.6, 1.0))
    total = np.zeros_like(across)
    for size, amplitude in ((0.5, 0.55), (1.2, 0.7), (2.6, 0.6)):
        u = size * across + np.float32(rng.random())
        v = 2.0 * size * away + np.float32(rng.random())
        # Waves less than about two pixels high blend into the tone of the far water.
        per_wave = below / (2.0 * size * away) / 24 * c.unit_px
        seen = np.float32(amplitude) * smoothstep(0.7, 2.0, per_wave)
        total += seen * sample(texture, u, v)
    return total


def _water(
    c: Canvas, rng: np.random.Generator, above: Sky, horizon: float, deep: Array, rough: float
) -> Array:
    """Water from the horizon down, mirroring the sky more the flatter it is seen."""
    row = _first_row(c, horizon)
    depth = np.clip((c.y[row:] - np.float32(horizon)) / np.float32(c.height - horizon), 0, 1)
    slope = _swell(c, rng, horizon)
    gusts = c.noise(rng, 4, octaves=3, stretch=(5.0, 0.5))[row:] * (1 - depth)
    mirrored = mix(above.horizon_color, above.zenith_color, (depth**0.5)[..., None])
    mirror = (
        0.62 * np.exp(-2.6 * depth) + 0.14 + rough * (0.13 + 0.12 * depth) * slope + 0.05 * gusts
    )
    water = mix(deep, mirrored, np.clip(mirror, 0.02, 0.95)[..., None])
    crest = smoothstep(1.5, 2.6, slope + 0.9 * rough) * np.float32(max(rough - 0.45, 0) * 1.1)
    light = np.minimum(above.light.color * 0.9 + above.light.ambient * 0.2, 1)
    water = mix(water, light.astype(np.float32), crest * 0.7)
    if not above.overcast:
        water = _glitter(c, above, water, slope, depth)
    # A thread of haze softens the far edge of the water.
    return mix(water, above.horizon_color, 0.45 * np.exp(-depth / 0.025))


def _glitter(c: Canvas, above: Sky, water: Array, slope: Array, depth: Array) -> Array:
    """The path of light below the sun or moon."""
    time_of_day = above.light.time_of_day
    sun_x = np.float32(above.sun[0])
    width = 0.05 + (0.24 if time_of_day == "day" else 0.13) * depth
    path = np.exp(-(((c.x[: len(depth)] - sun_x) / width) ** 2))
    strength = {"day": 0.55, "dusk": 0.3, "night": 0.6}.get(str(time_of_day), 1.0)
    color = np.minimum(above.light.color * 1.15 + 0.12, 1).astype(np.float32)
    if time_of_day == "night":
        color = rgb(206, 214, 232)
    sparkle = smoothstep(-0.5, 1.6, slope + 1.1 * path - 0.4)
    glow = 0.4 * path * np.exp(-1.5 * depth)
    return mix(water, color, np.float32(strength) * np.clip(path * sparkle + glow, 0, 1))


def _shore_line(c: Canvas, rng: np.random.Generator, horizon: float) -> Array:
    """(1, W) y of the water's edge."""
    base = horizon + (c.height - horizon) * rng.uniform(0.28, 0.42)
    slant = rng.uniform(-0.14, 0.14)
    line = base + slant * (c.x[:1] - c.width / 2) / c.width
    lap = np.abs(c.line_noise(rng, 2.2, octaves=2, gain=0.4))
    return (line + 0.022 * lap + 0.008 * c.line_noise(rng, 1.2, octaves=2)).astype(np.float32)


def _shallows(c: Canvas, above: Sky, water: Array, inland: Array, horizon: float) -> Array:
    """Water turning pale and green where the sand shines through."""
    lit = above.light.color * 0.8 + above.light.ambient * 0.2
    reach = 0.5 * (c.height - horizon)
    color = (rgb(110, 206, 200) * np.minimum(lit, 1)).astype(np.float32)
    return mix(water, color, 0.75 * smoothstep(-0.55 * reach, 0.0, inland))


def _sand(c: Canvas, rng: np.random.Generator, above: Sky, horizon: float) -> Array:
    """Dry sand with soft dunes and footprints' hollows lit from the sun's side."""
    light = above.light
    row = _first_row(c, horizon)
    across, away = (plane[row:] for plane in ground_plane(c, horizon))
    texture = canvas(256, 256).noise(rng, 7, octaves=4, gain=0.55)
    u = 0.33 * across + np.float32(rng.random())
    v = 0.45 * away + np.float32(rng.random())
    hollows = sample(texture, u, v)
    down, right = np.gradient(hollows)
    relief = np.clip(6 * (0.6 * down - np.float32(np.sign(light.azimuth)) * right), -2, 2)
    near = smoothstep(horizon, c.height, c.y[row:])
    grain = c.noise(rng, 60, octaves=2, gain=0.8)[row:]
    level = 0.98 + (0.13 - 0.08 * light.softness) * relief * near + 0.012 * hollows
    level = level + 0.016 * grain * near
    color = _SANDS[int(rng.integers(len(_SANDS)))]
    key = 0.68 * light.color + 0.44 * light.ambient
    # Pale sand under a low sun would turn orange; eye and camera adapt to half of that.
    key = np.minimum(1.06 * (0.6 * key + 0.4 * key.mean()), 1.05)
    side = 1 + 0.10 * light.azimuth * (c.x[row:] / c.width - 0.5)
    return (color * key * (level * side)[..., None]).astype(np.float32)


def _wet(c: Canvas, rng: np.random.Generator, above: Sky, sand: Array, inland: Array) -> Array:
    """The dark mirror that the last wave left."""
    reach = rng.uniform(0.07, 0.14)
    edge = np.float32(reach) + 0.012 * c.line_noise(rng, 2.5, octaves=3)
    wet = smoothstep(edge + 0.02, edge - 0.02, inland)
    soaked = sand * rgb(196, 186, 176)
    mirrored = mix(above.horizon_color, above.zenith_color, np.clip(inland / 0.4, 0, 1)[..., None])
    gloss = 0.65 * smoothstep(1.3 * reach, 0.0, inland)
    return mix(sand, mix(soaked, mirrored, gloss), 0.9 * wet)


def _surf(
    c: Canvas, rng: np.random.Generator, above: Sky, image: Array, inland: Array, horizon: float
) -> Array:
    """Foam at the water's edge and on the waves that break before it."""
    light = above.light
    white = np.minimum(0.55 * light.color + 0.45 * light.ambient + 0.06, 1).astype(np.float32)
    row = _first_row(c, horizon)
    lace = c.noise(rng, 16, octaves=3, gain=0.6, stretch=(2.0, 0.8))[row:]
    edge = np.float32(0.011) + 0.004 * c.line_noise(rng, 5, octaves=2)
    shadow = smoothstep(0.014, 0.0, inland) * smoothstep(-0.004, 0.004, inland)
    image = image * (1 - 0.22 * shadow[..., None])
    rim = smoothstep(-edge - 0.006, -edge + 0.006, inland) * smoothstep(0.005, 0.0, inland)
    film = smoothstep(-0.075, -0.01, inland) * smoothstep(0.004, -0.002, inland)
    foam = np.maximum(rim, 0.75 * film * smoothstep(0.42, 0.08, np.abs(lace)))
    gap = float(rng.uniform(0.05, 0.08)) * (c.height - horizon) / 0.65
    offset = -0.06
    for rank in range(int(rng.integers(1, 3))):
        offset -= gap / (1 + 0.7 * rank)
        line = offset + 0.012 * c.line_noise(rng, 1.6, octaves=3)
        size = np.float32(0.012 / (1 + 0.8 * rank))
        run = smoothstep(-0.5, 0.5, c.line_noise(rng, 1.4, octaves=2))
        away = inland - line
        foam = np.maximum(
            foam,
            run * smoothstep(-size, 0.0, away + 0.004 * lace) * smoothstep(0.6 * size, 0.0, away),
        )
        image = image * (
            1 - 0.16 * (run * np.exp(-(((away - 1.2 * size) / (0.9 * size)) ** 2)))[..., None]
        )
    return mix(image, white, 0.94 * foam * c.aa(np.float32(horizon) + 0.012 - c.y[row:]))
