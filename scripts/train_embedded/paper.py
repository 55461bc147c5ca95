"""Coloured paper walls and floors of a studio: exposure, falloff, the line where they meet."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, mix, smoothstep
from scripts.train_embedded.light import Light
from scripts.train_embedded.palette import NAMES, named, pick

_KNEE = 0.86


def expose(color: Array, exposure: Array, light: Light | None = None, tint: float = 0.32) -> Array:
    """A matte surface under uneven light, with a photographic shoulder in the highlights.

    Args:
        color: (3,) or (H, W, 3), how the surface looks at exposure 1.
        exposure: (H, W), in linear light.
        light: tints the surface by its colour.
        tint: how much of that tint; named colours must stay what they are called.

    Returns:
        (H, W, 3)
    """
    gain = np.maximum(exposure, 0) ** np.float32(1 / 2.2)
    tinted = color if light is None else color * (1 + tint * (light.color - 1))
    bright = gain[..., None] * tinted.astype(np.float32)
    # Most of a picture lies below the knee, and exponentials are slow.
    over = bright > _KNEE
    bright[over] = 1 - (1 - _KNEE) * np.exp((_KNEE - bright[over]) / (1 - _KNEE))
    return bright


def luminance(color: Array) -> float:
    """Perceived brightness of a colour (3,), 0..1."""
    return float(color @ np.array((0.299, 0.587, 0.114), np.float32))


def contrasting(
    rng: np.random.Generator, least: float, *, among: tuple[str, ...] = NAMES
) -> tuple[str, str]:
    """Two colour names whose channels differ by `least` (0..3) or more in all."""
    while True:
        first, second = pick(rng, among=among), pick(rng, among=among)
        if np.abs(named(first) - named(second)).sum() >= least:
            return first, second


def side_of(light: Light) -> str:
    """The side the light comes from, in words."""
    return "left" if light.azimuth < 0 else "right"


def wall_exposure(c: Canvas, rng: np.random.Generator, color: Array, light: Light) -> Array:
    """(H, W): a soft pool from the light's side, falling off over the whole picture."""
    pool_x = c.width * (0.5 + 0.42 * light.azimuth)
    pool_y = c.height * rng.uniform(0.0, 0.45)
    radius = rng.uniform(0.42, 0.68)
    # White would turn gray and black needs light to be seen at all.
    low = rng.uniform(0.2, 0.4) + 0.34 * float(color.min()) ** 2
    high = rng.uniform(1.04, 1.24) + 0.8 * max(0.0, 0.3 - luminance(color))
    distance = np.hypot((c.x - pool_x) * 0.85, c.y - pool_y) / np.float32(radius)
    return (low + (high - low) * np.exp(-(distance**2))).astype(np.float32)


def glow_exposure(c: Canvas, rng: np.random.Generator, color: Array, horizon: float) -> Array:
    """(H, W): a lamp behind the scene lights the wall from low down, darker all around."""
    centre_x = c.width * rng.uniform(0.35, 0.65)
    centre_y = horizon - rng.uniform(0.05, 0.2)
    radius = rng.uniform(0.34, 0.5)
    low = rng.uniform(0.24, 0.36) + 0.3 * float(color.min()) ** 2
    high = rng.uniform(1.15, 1.4) + 1.2 * max(0.0, 0.3 - luminance(color))
    distance = c.distance(centre_x, centre_y) / np.float32(radius)
    return (low + (high - low) * np.exp(-(distance**2))).astype(np.float32)


def floor_exposure(
    c: Canvas, rng: np.random.Generator, color: Array, light: Light, horizon: float
) -> Array:
    """(H, W): brightest towards the light and in the middle distance."""
    depth = np.clip((c.y - horizon) / (c.height - horizon), 0, 1)
    across = (c.x / c.width - 0.5) * np.float32(light.azimuth)
    middle = np.exp(-(((depth - rng.uniform(0.25, 0.5)) / 0.6) ** 2))
    low = rng.uniform(0.4, 0.6) + 0.22 * float(color.min()) ** 2
    return ((low + (1.14 - low) * middle) * (1 + 0.5 * across)).astype(np.float32)


def room(
    c: Canvas,
    wall: tuple[Array, Array],
    floor: tuple[Array, Array],
    light: Light,
    horizon: float,
    softness: float,
) -> Array:
    """Wall over floor, (H, W, 3).

    Args:
        c: the canvas.
        wall: colour (3,) and exposure (H, W).
        floor: the same of the floor.
        light: the key light.
        horizon: y where they meet.
        softness: half of the transition: 0.1 is a seamless paper sweep, 0.004 an edge.
    """
    (wall_color, wall_light), (floor_color, floor_light) = wall, floor
    above = np.maximum(horizon - c.y, 0)
    below = np.maximum(c.y - horizon, 0)
    # Light bounces from the floor, and little of it reaches the corner.
    bounce = np.float32(0.16) * np.exp(-above / 0.1)
    bounced = mix(c.fill(wall_color), c.fill(floor_color), bounce)
    depth = 0.2 if softness < 0.03 else 0.08
    corner = 1 - depth * np.exp(-above / 0.07) - depth * np.exp(-below / 0.035)
    upper = expose(bounced, wall_light * corner, light)
    lower = expose(floor_color, floor_light * corner, light)
    return mix(upper, lower, smoothstep(horizon - softness, horizon + softness, c.y))


def grain(c: Canvas, rng: np.random.Generator, amount: float = 0.012) -> Array:
    """(H, W) factor around 1: the slight unevenness of paper and paint."""
    return 1 + np.float32(amount) * c.noise(rng, 5, octaves=4, gain=0.7)
