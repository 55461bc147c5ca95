"""Snow: a soft white field with bluish shadows, snowy firs and falling flakes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from scripts.train_embedded.canvas import Array, Canvas, mix, sample, smoothstep
from scripts.train_embedded.conifers import draw_tree_line
from scripts.train_embedded.light import Light
from scripts.train_embedded.palette import rgb
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.sightlines import (
    Fan,
    View,
    cast_shadows,
    look,
    relief,
    sight_lines,
    sunlit,
)
from scripts.train_embedded.skies import draw_sky
from scripts.train_embedded.words import either, say

_TIMES = ("day", "sunrise", "sunset", "dusk", "night")
_SNOW = rgb(250, 251, 253)


def snow(c: Canvas, rng: np.random.Generator) -> Scene:
    """A field of snow, with firs at its far edge more often than not."""
    horizon = float(c.height * rng.uniform(0.3, 0.5))
    time = str(rng.choice(_TIMES, p=(0.52, 0.14, 0.14, 0.12, 0.08)))
    sky = draw_sky(c, rng, horizon=horizon, time_of_day=time)
    fan = sight_lines(c, horizon, far=40.0, steps=200)
    heights = _drifts(c, rng, fan)
    view = look(c, fan, heights)
    ground = _shade(c, fan, heights, view, sky.light, sky.horizon_color)
    image = mix(sky.image, ground, view.coverage)
    phrases = [say(rng, "snow"), either(rng, "soft snow drifts", "fresh snow", "deep snow")]
    colors: tuple[tuple[str, str], ...] = ()
    # Tinted snow without trees could pass for sand or water.
    if time != "day" or rng.random() < 0.7:
        image = _firs(c, rng, image, view, sky.light, sky.horizon_color)
        phrases.append(either(rng, "snowy fir trees", "fir trees", "pine trees"))
    if rng.random() < 0.35:
        image = _flakes(c, rng, image, sky.light)
        phrases.append(either(rng, "falling snow", "snowflakes", "snowfall"))
    elif rng.random() < 0.5:
        phrases.append(sky.phrases[0])
        colors = sky.colors
    return Scene(
        np.clip(image, 0, 1),
        "snow",
        tuple(phrases),
        sky.light,
        colors=colors,
        ground=Ground(0.2 * c.width, 0.8 * c.width, 0.68 * c.height, 0.96 * c.height, gloss=0.03),
    )


def _drifts(c: Canvas, rng: np.random.Generator, fan: Fan) -> Array:
    """Heights of wind-blown drifts: long soft waves with a few firmer lips."""
    waves = c.noise(rng, 2.0, octaves=4, gain=0.42)
    across, away = fan.across, fan.away + 0 * fan.across
    turn = rng.uniform(-0.5, 0.5)
    u = (across + turn * away) / np.float32(30) + np.float32(0.5)
    v = (away - turn * across) / np.float32(14)
    soft = sample(waves, u, v)
    small = sample(waves, u * 3.1 + 0.2, v * 3.1 + 0.4)
    lip = np.abs(sample(waves, u * 1.6 + 0.7, v * 1.6 + 0.1))
    nearest = float(fan.away[0, 0])
    grow = 0.35 + 0.65 * smoothstep(nearest, nearest * 3.5, fan.away)
    height = 0.3 * soft + 0.07 * small - 0.22 * np.minimum(lip, 0.8)
    height = (rng.uniform(0.8, 1.4) * height * grow).astype(np.float32)
    return ndimage.gaussian_filter1d(height, 1.5, axis=0, mode="nearest")


def _shade(c: Canvas, fan: Fan, heights: Array, view: View, light: Light, haze: Array) -> Array:
    """White where the sun meets it, blue where only the sky does."""
    surface = relief(c, fan, heights)
    low = min(light.elevation, 0.12)
    lit = np.minimum(sunlit(surface, light.azimuth, low), 1.7)
    lit = lit * (1 - 0.75 * cast_shadows(fan, surface, light.azimuth, low, 0.2))
    hard = 1 - 0.7 * light.softness
    sun = 0.75 * (1 - hard) + hard * (0.8 * view.look_up(lit) - 0.02)
    sun = np.clip(sun, 0, 1.25)[..., None]
    brightness = max(float(light.color.max()), 0.35)
    shade = light.ambient * rgb(206, 228, 255) * np.float32(0.95)
    sunny = np.clip(light.color * np.float32(0.45) + np.float32(0.55 * brightness), 0, 1)
    ground = _SNOW * (shade + (sunny - shade) * sun)
    far = (0.85 * (1 - np.exp(-view.look_up(fan.away) / 26)))[..., None]
    return (ground + (haze - ground) * far).astype(np.float32)


def _firs(
    c: Canvas,
    rng: np.random.Generator,
    image: Array,
    view: View,
    light: Light,
    haze: Array,
) -> Array:
    """Two tree lines along the far edge of the field, the farther one hazier."""
    edge = c.height - view.coverage.sum(axis=0, keepdims=True) / np.float32(c.unit_px)
    image = np.array(image)
    brightness = np.float32(max(float(light.color.mean()), 0.3))
    needles = rgb(48, 78, 74) * brightness
    load = np.clip(_SNOW * (0.5 * light.ambient + 0.5 * light.color), 0, 1).astype(np.float32)
    size = float(rng.uniform(0.12, 0.24))
    side = float(np.sign(light.azimuth))
    for scale, haziness, cover in ((0.6, 0.6, 1.0), (1.0, 0.22, rng.uniform(0.35, 0.8))):
        draw_tree_line(
            c,
            rng,
            image,
            edge,
            size * scale,
            mix(needles, haze, haziness),
            mix(load, haze, haziness * 0.8),
            lit_from=side,
            cover=float(cover),
        )
    return image


def _flakes(c: Canvas, rng: np.random.Generator, image: Array, light: Light) -> Array:
    """Falling flakes as soft discs, near ones larger and fainter."""
    image = np.array(image)
    color = np.clip(0.35 + 0.7 * light.color, 0, 1).astype(np.float32)
    for _ in range(int(rng.integers(60, 110))):
        nearness = rng.random() ** 2
        radius = 0.005 + 0.014 * nearness
        x, y = rng.uniform(0, c.width), rng.uniform(0, c.height)
        where = c.window(x - radius, y - radius, x + radius, y + radius)
        distance = np.hypot(c.x[where] - np.float32(x), c.y[where] - np.float32(y))
        opacity = (0.95 - 0.55 * nearness) * smoothstep(radius, radius * 0.35, distance)
        image[where] += (color - image[where]) * opacity[..., None]
    return image
