"""Shadows that window blinds, panes and palm leaves throw on a studio wall."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, smoothstep
from scripts.train_embedded.light import Light


def thrown(c: Canvas, rng: np.random.Generator, light: Light, horizon: float) -> tuple[Array, str]:
    """How much key light passes, (H, W) in 0..1, and what shades the rest, in words."""
    u, v = _wall_coordinates(c, light, horizon)
    kind = rng.choice(("blind", "window", "leaf"), p=(0.35, 0.3, 0.35))
    if kind == "leaf":
        return 1 - _leaves(c, rng, u, v, light), "palm leaf shadow"
    if kind == "blind":
        return _blind(c, rng, u, v, light), "window blind shadow"
    return _panes(c, rng, u, v, light), "window light"


def _wall_coordinates(c: Canvas, light: Light, horizon: float) -> tuple[Array, Array]:
    """Wall coordinates, carried on over the floor, which the light meets at a flat angle."""
    below = np.maximum(c.y - horizon, 0)
    return c.x - 1.1 * np.sign(light.azimuth) * below, c.y + 0.9 * below


def _blind(c: Canvas, rng: np.random.Generator, u: Array, v: Array, light: Light) -> Array:
    slope = -np.sign(light.azimuth) * rng.uniform(0.12, 0.4)
    period = rng.uniform(0.075, 0.11)
    rows = (v - slope * u) / np.float32(period)
    wave = np.abs((rows % 1.0) - 0.5) * 2
    slats = smoothstep(0.66, 0.34, wave)
    left, right = _span(c, rng)
    leaning = u + 0.25 * slope * v
    edge = rng.uniform(0.015, 0.03)
    window = smoothstep(left - edge, left + edge, leaning)
    return slats * window * smoothstep(right + edge, right - edge, leaning)


def _panes(c: Canvas, rng: np.random.Generator, u: Array, v: Array, light: Light) -> Array:
    slope = -np.sign(light.azimuth) * rng.uniform(0.1, 0.35)
    left, right = _span(c, rng)
    top = c.height * rng.uniform(-0.2, 0.15)
    bottom = c.height * rng.uniform(0.6, 1.0)
    across = (u + 0.3 * slope * v - left) / (right - left)
    down = (v - slope * u - top) / (bottom - top)
    columns, rows = int(rng.integers(2, 4)), int(rng.integers(2, 4))
    edge = np.float32(rng.uniform(0.012, 0.022))
    bar = np.float32(0.018)
    sides = _cells(across, columns, bar * columns / (right - left), edge * columns / (right - left))
    return sides * _cells(down, rows, bar * rows / (bottom - top), edge * rows / (bottom - top))


def _cells(t: Array, count: int, bar: float, edge: float) -> Array:
    """1 inside `count` openings that divide 0..1, 0 on the bars between and outside."""
    place = t * count
    from_bar = 0.5 - np.abs(place - np.floor(place) - 0.5)
    inside = ((t > 0) & (t < 1)).astype(np.float32)
    return smoothstep(bar, bar + edge, from_bar) * inside


def _span(c: Canvas, rng: np.random.Generator) -> tuple[float, float]:
    """Left and right side of the opening."""
    width = c.width * rng.uniform(0.5, 0.8)
    left = rng.uniform(-0.05, c.width - width + 0.05)
    return left, left + width


def _leaves(c: Canvas, rng: np.random.Generator, u: Array, v: Array, light: Light) -> Array:
    """(H, W) shade of two or three palm fronds that reach in from the light's side."""
    side = float(np.sign(light.azimuth))
    shade = np.zeros_like(u)
    for _ in range(int(rng.integers(1, 3))):
        root_x = c.width * (0.5 + side * rng.uniform(0.42, 0.6))
        root_y = c.height * rng.uniform(-0.12, 0.5)
        angle = rng.uniform(-0.15, 0.75)
        along = -side * (u - root_x) * np.cos(angle) + (v - root_y) * np.sin(angle)
        aside = side * (u - root_x) * np.sin(angle) + (v - root_y) * np.cos(angle)
        shade = np.maximum(shade, _frond(rng, along, aside))
    return c.blur(shade, rng.uniform(0.006, 0.013))


def _frond(rng: np.random.Generator, along: Array, aside: Array) -> Array:
    """One frond: leaflets on both sides of a drooping rib."""
    length = rng.uniform(0.7, 0.95)
    aside = aside - np.float32(rng.uniform(0.1, 0.35)) * along**2
    reach = np.abs(aside)
    root = along - 0.9 * reach
    share = np.clip(root / length, 0, 1)
    leaflet = 0.34 * np.sqrt(np.maximum(share * (1.02 - share), 0)) + 1e-3
    count = rng.uniform(10, 13)
    wave = np.abs((root * count / 0.7) % 1.0 - 0.5) * 2
    blade = smoothstep(0.0, 0.14, 0.72 - 0.55 * (reach / leaflet) - wave)
    blade = blade * smoothstep(1.0, 0.9, reach / leaflet)
    rib = smoothstep(0.006, 0.003, reach) * ((along > 0) & (along < length))
    return np.maximum(blade * ((root > 0) & (root < length)), rib).astype(np.float32)
