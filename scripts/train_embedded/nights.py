"""Starry night: a sky full of stars and a hint of the milky way over dark hills."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, mix, smoothstep
from scripts.train_embedded.conifers import draw_tree_line
from scripts.train_embedded.light import Light, daylight
from scripts.train_embedded.palette import rgb
from scripts.train_embedded.scene import Scene
from scripts.train_embedded.words import either

# zenith, near the horizon, milky way
_SKIES: tuple[tuple[Array, Array, Array], ...] = (
    (rgb(10, 14, 40), rgb(40, 62, 118), rgb(150, 160, 214)),
    (rgb(18, 12, 46), rgb(84, 60, 122), rgb(196, 160, 214)),
    (rgb(6, 18, 36), rgb(30, 92, 112), rgb(150, 200, 210)),
    (rgb(12, 14, 38), rgb(112, 84, 104), rgb(206, 178, 176)),
)


def starry_night(c: Canvas, rng: np.random.Generator) -> Scene:
    """Stars above the silhouette of hills."""
    light = daylight(rng, "night")
    zenith, low, band_color = _SKIES[rng.integers(len(_SKIES))]
    land = float(c.height * rng.uniform(0.76, 0.9))
    image = c.vertical(zenith, low, end=land)
    milky = rng.random() < 0.7
    band = _milky_way(c, rng, land)
    image = image + (band * np.float32(0.6 if milky else 0.15))[..., None] * band_color
    image = _stars(c, rng, image, band if milky else band * 0, land)
    image, firs = _silhouette(c, rng, image, zenith, low, land)
    phrases = [
        either(rng, "starry night", "starry night sky", "starry night landscape"),
        either(rng, "bright stars", "sky full of stars", "many stars"),
    ]
    if milky:
        phrases.append("milky way")
    phrases.append("fir silhouettes" if firs else either(rng, "dark hills", "hill silhouette"))
    return Scene(np.clip(image, 0, 1), "starry night", tuple(phrases), _moonless(light))


def _moonless(light: Light) -> Light:
    """Starlight: from the whole sky."""
    return Light(
        light.azimuth, 0.7, light.color * np.float32(0.9), light.ambient, 0.9, time_of_day="night"
    )


def _milky_way(c: Canvas, rng: np.random.Generator, land: float) -> Array:
    """(H, W) brightness of the band, torn by dark dust along its middle."""
    angle = np.radians(rng.uniform(40, 80)) * rng.choice((-1, 1))
    through = (c.width * rng.uniform(0.3, 0.7), land * 0.5)
    side = (c.x - through[0]) * np.sin(angle) - (c.y - through[1]) * np.cos(angle)
    clouds = c.noise(rng, 3.5, octaves=4, gain=0.55)
    side = side + np.float32(0.035) * clouds
    wide = np.exp(-((side / np.float32(rng.uniform(0.13, 0.2))) ** 2))
    core = np.exp(-((side / np.float32(0.06)) ** 2))
    dust = smoothstep(0.0, 1.6, clouds[::-1, ::-1]) * np.exp(-(((side - 0.01) / 0.05) ** 2))
    bright = wide * (0.42 + 0.14 * clouds) + 0.38 * core
    return np.clip(bright * (1 - 0.65 * dust), 0, 1).astype(np.float32)


def _stars(c: Canvas, rng: np.random.Generator, image: Array, band: Array, land: float) -> Array:
    """Many small stars, denser in the milky way, and a few bright ones with a glow."""
    image = np.array(image, np.float32)
    count = int(rng.uniform(420, 620) * c.width * land)
    dense = int(count * 0.8 * band.mean() / 0.2)
    x = rng.uniform(0, c.width, count + dense)
    y = rng.uniform(0, land, count + dense)
    rows = np.minimum((y * c.unit_px).astype(int), c.height_px - 1)
    columns = np.minimum((x * c.unit_px).astype(int), c.width_px - 1)
    kept = (np.arange(x.size) < count) | (rng.random(x.size) < 2.2 * band[rows, columns])
    magnitude = rng.random(x.size) ** 6
    tints = mix(rgb(205, 220, 255), rgb(255, 236, 214), rng.random((x.size, 1)).astype(np.float32))
    for i in np.flatnonzero(kept):
        radius = 0.0028 + 0.0042 * magnitude[i]
        reach = 3.2 * radius
        where = c.window(x[i] - reach, y[i] - reach, x[i] + reach, y[i] + reach)
        square = (c.x[where] - np.float32(x[i])) ** 2 + (c.y[where] - np.float32(y[i])) ** 2
        shine = np.exp(-square / np.float32(radius**2)) * np.float32(0.45 + 0.75 * magnitude[i])
        image[where] += shine[..., None] * tints[i]
    return image


def _silhouette(
    c: Canvas, rng: np.random.Generator, image: Array, zenith: Array, low: Array, land: float
) -> tuple[Array, bool]:
    """Hills in two depths, sometimes with firs on the near one."""
    firs = rng.random() < 0.45
    far = land - 0.03 - 0.05 * c.line_noise(rng, 1.6, octaves=4, gain=0.42)
    image = mix(image, c.fill(mix(zenith, low, 0.45)) * np.float32(0.75), c.aa(far - c.y))
    near = land + 0.05 - 0.025 * c.line_noise(rng, 1.2, octaves=3, gain=0.4)
    dark = (zenith * np.float32(0.45)).astype(np.float32)
    if firs:
        size, cover = float(rng.uniform(0.09, 0.16)), float(rng.uniform(0.4, 0.8))
        draw_tree_line(c, rng, image, near, size, dark, cover=cover)
    return mix(image, c.fill(dark), c.aa(near - c.y)), firs
