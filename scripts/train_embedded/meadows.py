"""Green meadows under the sky."""

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
from scripts.train_embedded.light import Light
from scripts.train_embedded.palette import named, rgb
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.skies import Sky, draw_sky
from scripts.train_embedded.words import either, say

_GREENS = (rgb(104, 158, 52), rgb(84, 146, 56), rgb(126, 166, 60), rgb(74, 138, 66))
_FLOWERS = ("white", "yellow", "red", "pink", "purple", "lavender")


def meadow(c: Canvas, rng: np.random.Generator) -> Scene:
    """Grass up to a soft horizon of trees or hills, sometimes in flower."""
    time_of_day = str(rng.choice(("sunrise", "day", "sunset", "dusk"), p=(0.14, 0.64, 0.18, 0.04)))
    weather = str(rng.choice(("clear", "cloudy", "overcast"), p=(0.38, 0.52, 0.10)))
    horizon = c.height * float(rng.uniform(0.36, 0.54))
    above = draw_sky(c, rng, horizon=horizon, time_of_day=time_of_day, weather=weather)
    green = _GREENS[int(rng.integers(len(_GREENS)))] * np.float32(rng.uniform(0.92, 1.06))
    edge = rng.random()
    image, details = above.image, ()
    if edge < 0.4:
        image = _hills(c, rng, image, above, horizon, green)
        details = (either(rng, "rolling hills", "green hills"),)
    if 0.3 < edge < 0.75:
        image = _trees(c, rng, image, above, horizon)
        details = (*details, either(rng, "distant trees", "tree line"))
    rise = 0.010 * c.line_noise(rng, 1.3, octaves=2) + horizon
    image = mix(image, _grass(c, rng, above, horizon, green), c.aa(rise - c.y))
    colors = above.colors
    if rng.random() < 0.45:
        flower = str(rng.choice(_FLOWERS))
        image = _flowers(c, rng, image, above.light, horizon, flower)
        details = (*details, f"{say(rng, flower)} flowers")
        colors = (*colors, ("flowers", flower))
    image = _sunshine(c, image, above)
    ground = Ground(
        0.15 * c.width, 0.85 * c.width, horizon + 0.45 * (c.height - horizon), 0.97 * c.height
    )
    main = either(rng, say(rng, "meadow"), say(rng, "meadow"), "green meadow")
    phrases = (main, either(rng, "green grass", "grass"), *details, *above.phrases)
    return Scene(image, "meadow", phrases, above.light, colors, ground)


def _lit(color: Array, light: Light, level: float = 1.0) -> Array:
    """(3,) of a matte surface in the open."""
    key = 0.64 * light.color + 0.46 * light.ambient
    # Grass and flowers keep their own colour under a low sun, as the eye and cameras see them.
    key = np.minimum(1.08 * (0.55 * key + 0.45 * key.mean()), 1.05)
    return (color * key * np.float32(level)).astype(np.float32)


def _hills(
    c: Canvas, rng: np.random.Generator, image: Array, above: Sky, horizon: float, green: Array
) -> Array:
    """Two or three rounded hills, paler with distance."""
    count = int(rng.integers(2, 4))
    for rank in range(count):
        far = 1 - rank / count
        lift = (0.030 + 0.05 * far) * rng.uniform(0.7, 1.2)
        top = horizon - lift - (0.035 * far + 0.012) * c.line_noise(rng, 1.3, octaves=2, gain=0.3)
        fall = np.clip((c.y - top) / 0.12, 0, 1)
        slope = np.gradient(top[0])[None, :] * np.float32(c.unit_px)
        side = 1 + 0.5 * np.clip(-slope * above.light.azimuth, -0.3, 0.3)
        body = (
            _lit(green * rgb(215, 228, 225), above.light) * (side * (1.05 - 0.2 * fall))[..., None]
        )
        body = mix(body, above.horizon_color, 0.22 + 0.5 * far)
        image = mix(image, body, c.aa(top - c.y))
    return image


def _trees(c: Canvas, rng: np.random.Generator, image: Array, above: Sky, horizon: float) -> Array:
    """A distant row of round crowns, out of focus."""
    height = rng.uniform(0.03, 0.075)
    crowns = 0.55 + 0.45 * np.abs(c.line_noise(rng, 7, octaves=3, gain=0.6))
    groups = smoothstep(-0.9, 0.6, c.line_noise(rng, 1.2, octaves=2))
    top = horizon + 0.012 - height * crowns * (0.25 + 0.75 * groups)
    clumps = c.noise(rng, 20, octaves=3)
    upper = smoothstep(horizon + 0.01, horizon - height, c.y)
    level = 0.62 + 0.28 * upper + 0.10 * clumps + 0.12 * above.light.azimuth * (c.x / c.width - 0.5)
    body = _lit(rgb(64, 98, 58), above.light) * level[..., None]
    body = mix(body, above.horizon_color, np.float32(rng.uniform(0.15, 0.4)))
    mask = c.blur(c.aa(top - c.y), 0.004)
    return mix(image, body, mask)


def _grass(c: Canvas, rng: np.random.Generator, above: Sky, horizon: float, green: Array) -> Array:
    """Grass with soft patches far off and upright blades near by."""
    light = above.light
    across, away = ground_plane(c, horizon)
    texture = canvas(256, 256).noise(rng, 6, octaves=4, gain=0.6)
    patches = sample(texture, 0.10 * across + rng.random(), 0.22 * away + rng.random())
    tufts = sample(texture, 0.5 * across + rng.random(), 0.5 * away + rng.random())
    near = smoothstep(horizon, c.height, c.y)
    # Far off the lookup would skip whole patches and leave a comb of bright specks.
    patches = patches * smoothstep(0.004, 0.08, near)
    fine = c.noise(rng, 44, octaves=2, gain=0.7, stretch=(0.6, 3.2))
    broad = c.noise(rng, 20, octaves=2, gain=0.6, stretch=(0.6, 4.5))
    blades = fine * smoothstep(0.05, 0.35, near) * (1 - 0.6 * near) + 0.9 * broad * near
    level = 1 + 0.06 * patches + 0.05 * tufts * near + 0.12 * blades * (0.35 + 0.65 * near)
    level = level * (1.06 - 0.34 * near**2)
    warm = np.clip(0.5 + 0.2 * patches + 0.18 * blades, 0, 1)[..., None]
    shade, sun = green * rgb(190, 226, 200), np.minimum(green * rgb(290, 272, 240), 1)
    body = mix(_lit(shade, light), _lit(sun, light), warm) * level[..., None]
    return mix(body, above.horizon_color, 0.42 * np.exp(-near / 0.07))


def _flowers(
    c: Canvas, rng: np.random.Generator, image: Array, light: Light, horizon: float, color: str
) -> Array:
    """Blossoms strewn over the grass in drifts, large and soft in front."""
    count = int(rng.integers(120, 260) * c.width)
    depth = rng.random(count) ** 0.8
    drift = rng.normal(rng.uniform(0.1, 0.9) * c.width, 0.45 * c.width, count)
    x = np.where(rng.random(count) < 0.5, drift, rng.uniform(0, c.width, count))
    y = horizon + (c.height - horizon) * (0.06 + 0.98 * depth**1.5)
    radius = 0.0022 + 0.015 * depth**1.8
    tint = _lit(named(color), light, 1.04)
    for i in np.argsort(y):
        image = _blossom(c, image, float(x[i]), float(y[i]), float(radius[i]), tint, rng.random())
    return image


def _blossom(
    c: Canvas, image: Array, x: float, y: float, radius: float, tint: Array, vary: float
) -> Array:
    """One round soft blossom, darker below; drawn into `image` in place where it can be."""
    reach = int(2.2 * radius * c.unit_px) + 2
    column, row = int(x * c.unit_px), int(y * c.unit_px)
    rows = slice(max(row - reach, 0), min(row + reach + 1, c.height_px))
    columns = slice(max(column - reach, 0), min(column + reach + 1, c.width_px))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return image
    dx = (c.x[rows, columns] - np.float32(x)) / np.float32(radius)
    dy = (c.y[rows, columns] - np.float32(y)) / np.float32(0.72 * radius)
    distance = np.hypot(dx, dy)
    cover = smoothstep(1.25, 0.75, distance) * np.float32(0.92)
    body = tint * (0.9 + 0.12 * vary - 0.12 * dy)[..., None]
    image[rows, columns] = mix(image[rows, columns], body.astype(np.float32), cover)
    return image


def _sunshine(c: Canvas, image: Array, above: Sky) -> Array:
    """Veiling light from the side of a low sun."""
    if above.overcast or above.light.time_of_day not in ("sunrise", "sunset"):
        return image
    veil = np.exp(-((c.distance(*above.sun) / 0.42) ** 1.5))
    return image + (0.28 * veil)[..., None] * above.light.color * (1 - image)
