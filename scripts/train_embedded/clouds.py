"""Clouds as opacity and brightness, to be coloured by the sky that they stand in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, canvas, mix, sample, smoothstep


@dataclass(frozen=True, slots=True, eq=False)
class Clouds:
    """One layer of clouds.

    Attributes:
        cover: (H, W) opacity.
        lit: (H, W), 0 in full shade, 1 in full light.
        haze: (H, W), how much of the horizon's colour lies before them.
    """

    cover: Array
    lit: Array
    haze: Array


def cumulus(
    c: Canvas,
    rng: np.random.Generator,
    *,
    horizon: float,
    azimuth: float,
    amount: float,
) -> Clouds:
    """Heaped clouds with round lit tops and flat shaded bases, smaller towards the horizon.

    Args:
        c: the canvas.
        rng: the picture's generator.
        horizon: y of the horizon, in units; may lie below the picture.
        azimuth: where the light comes from, -1 left to 1 right.
        amount: 0 for two or three small ones, 1 for a sky half full.
    """
    billow = _billow(c, rng)
    wisps = c.noise(rng, 9, octaves=5, gain=0.62)
    bend = c.noise(rng, 4, octaves=4, gain=0.55)
    sway = c.noise(rng, 4, octaves=4, gain=0.55)
    cover = np.zeros_like(c.x)
    lit = np.zeros_like(c.x)
    haze = np.zeros_like(c.x)
    for base, center, width in _places(c, rng, horizon, amount):
        window = _window(c, base, center, width)
        if window is None:
            continue
        x = c.x[window] + 0.05 * width * bend[window]
        y = c.y[window] + 0.05 * width * sway[window]
        mass = _heap(rng, x, y, base, center, width)
        mass += width * (0.13 * (billow[window] - 0.75) + 0.028 * wisps[window])
        foot = base + width * (0.025 * sway[window] + 0.014 * wisps[window])
        mass = np.minimum(mass, 0.8 * (foot - c.y[window]))
        soft = width * (0.075 + 0.05 * np.clip(bend[window], -1, 1.5))
        opacity = smoothstep(-0.012 * width, soft, mass)
        light = _shading(c, mass, azimuth, width)
        rise = smoothstep(-0.02 * width, 0.24 * width, base - c.y[window])
        light = light * (0.55 + 0.45 * rise) + 0.06 * rise
        far = np.float32(np.exp(-3.2 * max(horizon - base, 0.0)))
        lit[window] = mix(lit[window], light, opacity)
        haze[window] = mix(haze[window], far, opacity)
        cover[window] = cover[window] + (1 - cover[window]) * opacity
    return Clouds(cover, np.clip(lit, 0, 1), haze)


def _billow(c: Canvas, rng: np.random.Generator) -> Array:
    """Round bumps with creases between them, mean about 0.75."""
    total = np.zeros_like(c.x)
    for scale, amplitude in ((6, 0.5), (13, 0.28), (27, 0.14), (50, 0.06)):
        total += np.float32(amplitude) * np.abs(c.noise(rng, scale, octaves=1))
    return total


def _places(
    c: Canvas, rng: np.random.Generator, horizon: float, amount: float
) -> list[tuple[float, float, float]]:
    """Base y, centre x and width of each cloud, far ones first."""
    places = []
    rows = 4 + round(2 * amount)
    for row in range(rows):
        elevation = 0.04 + 0.96 * horizon * ((row + rng.uniform(0.2, 0.8)) / rows) ** 1.3
        width = float(np.clip(0.16 + 0.85 * elevation, 0.16, 0.8))
        x = rng.uniform(-0.6, 0.9) * width
        while x < c.width + 0.3 * width:
            size = width * rng.uniform(0.5, 1.2)
            if rng.random() < 0.55 + 0.35 * amount:
                base = horizon - elevation + rng.uniform(-0.16, 0.16) * width
                places.append((base, x, size))
            x += size * rng.uniform(0.75, 1.5 - 0.4 * amount)
    return sorted(places, key=lambda place: -place[0])


def _window(c: Canvas, base: float, center: float, width: float) -> tuple[slice, slice] | None:
    """Pixels that a cloud can touch."""
    left = max(int((center - 0.75 * width) * c.unit_px), 0)
    right = min(int((center + 0.75 * width) * c.unit_px), c.width_px)
    upper = max(int((base - 0.75 * width) * c.unit_px), 0)
    lower = min(int((base + 0.12 * width) * c.unit_px), c.height_px)
    if right - left < 4 or lower - upper < 4:
        return None
    return slice(upper, lower), slice(left, right)


def _heap(
    rng: np.random.Generator, x: Array, y: Array, base: float, center: float, width: float
) -> Array:
    """Thickness of a heap of puffs standing on a common base, below 0 outside."""
    mass = np.full_like(x, -1)
    peak = rng.uniform(-0.35, 0.35)
    tall = rng.uniform(0.16, 0.36)
    count = int(rng.integers(11, 16))
    for along in (*np.linspace(-0.9, 0.9, 5), *rng.uniform(-1, 1, count - 5)):
        crown = max(1 - ((along - peak) / 1.15) ** 2, 0.0) * (1 - 0.55 * along**2)
        radius = width * (0.075 + 0.10 * crown) * rng.uniform(0.8, 1.25)
        lift = rng.uniform(0.0, 1.0) * tall * crown * width
        puff_x = np.float32(center + 0.44 * width * along)
        puff_y = np.float32(base - 0.35 * radius - 0.8 * lift)
        squared = (x - puff_x) ** 2 + (y - puff_y) ** 2
        mass = np.maximum(mass, np.float32(radius) - squared / np.float32(radius))
    return mass


def _shading(c: Canvas, mass: Array, azimuth: float, width: float) -> Array:
    """Light inside a cloud: what is left of it behind the mass on the sun's side."""
    body = np.maximum(c.blur(mass, 0.006), 0) / np.float32(width)
    step = 0.045 * width * c.unit_px
    behind = np.zeros_like(body)
    for distance in (1.0, 2.2, 3.6):
        shift = (round(0.8 * distance * step), round(-0.75 * azimuth * distance * step))
        behind += _moved(body, *shift)
    down, across = np.gradient(body * np.float32(width * c.unit_px))
    toward = 0.8 * down - 0.6 * azimuth * across
    surface = toward / np.sqrt(down**2 + across**2 + 0.5)
    return 0.10 + 0.82 * np.exp(-2.3 * behind) + 0.20 * surface


def _moved(field: Array, down: int, right: int) -> Array:
    """The field shifted by whole pixels, its borders drawn out."""
    rows = np.clip(np.arange(field.shape[0]) - down, 0, field.shape[0] - 1)
    columns = np.clip(np.arange(field.shape[1]) - right, 0, field.shape[1] - 1)
    return field[rows[:, None], columns]


def cirrus(c: Canvas, rng: np.random.Generator, *, horizon: float) -> Array:
    """Opacity of thin streaks of ice cloud combed by the wind."""
    texture = _texture(rng, 10, stretch=7.0)
    angle = rng.uniform(-0.7, 0.7)
    rows = _rows_above(c, horizon)
    across, away = _cloud_plane(c, horizon, rows)
    bend = 0.06 * c.noise(rng, 1.2, octaves=2)[:rows]
    u = np.cos(angle) * across + np.sin(angle) * away
    v = np.cos(angle) * away - np.sin(angle) * across + bend
    strands = np.zeros_like(c.x)
    strands[:rows] = sample(texture, 0.20 * u + rng.random(), 0.42 * v + rng.random())
    patches = c.noise(rng, 2.0, octaves=3, stretch=(1.6, 0.9)) + 0.25
    return smoothstep(-0.7, 2.2, strands + 0.5 * patches) * smoothstep(-0.9, 1.3, patches)


def deck(c: Canvas, rng: np.random.Generator, *, horizon: float, broken: float) -> Clouds:
    """A sheet of cloud seen from below, its folds crowding together towards the horizon.

    Args:
        c: the canvas.
        rng: the picture's generator.
        horizon: y of the horizon, in units.
        broken: 0 for a closed sheet, 1 for much sky between the folds.
    """
    texture = _texture(rng, 5, stretch=1.5)
    rows = _rows_above(c, horizon)
    across, away = _cloud_plane(c, horizon, rows)
    warp = 0.09 * c.noise(rng, 2.0, octaves=2, gain=0.4)[:rows]
    scale = rng.uniform(0.15, 0.22)
    u = np.float32(scale) * (across + warp) + np.float32(rng.random())
    v = np.float32(scale) * (away + 0.5 * warp) + np.float32(rng.random())
    ragged = c.noise(rng, 5, octaves=5, gain=0.6, stretch=(1.5, 0.9))
    thick = 0.35 * ragged
    thick[:rows] += sample(texture, u, v)
    cover = smoothstep(-2.4 + 2.2 * broken, -0.7 + 2.2 * broken, thick)
    under = thick - _moved(thick, -round(0.02 * c.unit_px), 0)
    lit = np.clip(0.62 + 0.22 * under - 0.17 * thick, 0, 1)
    haze = smoothstep(0.5, 0.0, horizon - c.y) * np.float32(0.9)
    return Clouds(cover, lit, haze)


def _texture(rng: np.random.Generator, cells: int, *, stretch: float) -> Array:
    """A 256-pixel square of fractal noise with features drawn out along its rows."""
    return canvas(256, 256).noise(rng, cells, octaves=4, gain=0.5, stretch=(stretch, 1.0))


def _rows_above(c: Canvas, horizon: float) -> int:
    """Rows of pixels above the horizon and one more."""
    return min(int(horizon * c.unit_px) + 2, c.height_px)


def _cloud_plane(c: Canvas, horizon: float, rows: int) -> tuple[Array, Array]:
    """Coordinates on a ceiling of clouds seen in perspective: across and away."""
    above = np.maximum(horizon - c.y[:rows], 0) + 0.16
    away = 0.7 / above
    return ((c.x[:rows] - c.width / 2) * away * 1.5).astype(np.float32), 1.6 * away
