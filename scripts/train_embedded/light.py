"""The one light of a scene: every part of a picture and the product in it are lit by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, smoothstep
from scripts.train_embedded.palette import rgb

TIMES_OF_DAY = ("sunrise", "day", "sunset", "dusk", "night")


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """A key light and its surroundings.

    Attributes:
        azimuth: -1 from the far left, 0 from the camera or behind, 1 from the far right.
        elevation: 0 grazing the ground, 1 from straight above.
        color: (3,) of the key light; 1 is neutral.
        ambient: (3,) of the fill light; shadows keep this much.
        softness: 0 hard-edged shadows (sun, bare lamp), 1 very soft ones (overcast, softbox).
        time_of_day: one of TIMES_OF_DAY, None indoors and in studios.
    """

    azimuth: float
    elevation: float
    color: Array
    ambient: Array
    softness: float
    time_of_day: str | None = None


# time of day: key colour, ambient colour, elevation range
_DAYLIGHT: dict[str, tuple[Array, Array, tuple[float, float]]] = {
    "sunrise": (rgb(255, 214, 176), rgb(168, 168, 200), (0.1, 0.3)),
    "day": (rgb(255, 252, 244), rgb(176, 192, 214), (0.45, 0.9)),
    "sunset": (rgb(255, 176, 112), rgb(132, 116, 150), (0.05, 0.25)),
    "dusk": (rgb(150, 140, 190), rgb(92, 96, 150), (0.1, 0.4)),
    "night": (rgb(90, 104, 150), rgb(38, 46, 84), (0.3, 0.8)),
}


def daylight(rng: np.random.Generator, time_of_day: str, *, overcast: bool = False) -> Light:
    """Outdoor light of that time; an overcast sky takes the direction out of it."""
    color, ambient, (low, high) = _DAYLIGHT[time_of_day]
    if overcast:
        color = (0.5 * color + 0.5 * color.mean()).astype(np.float32)
        ambient = (0.7 * color + 0.1).astype(np.float32)
    return Light(
        azimuth=float(rng.uniform(0.25, 1.0) * rng.choice((-1, 1))),
        elevation=float(rng.uniform(low, high)),
        color=color,
        ambient=ambient,
        softness=0.95 if overcast else float(rng.uniform(0.1, 0.4)),
        time_of_day=time_of_day,
    )


def indoor(rng: np.random.Generator, *, warm: float | None = None) -> Light:
    """Light of a studio or a room. `warm` is -1 (cool) to 1 (warm lamp); random by default."""
    tint = float(rng.uniform(-0.4, 0.8)) if warm is None else warm
    color = np.clip(rgb(255, 250, 242) + tint * rgb(10, -8, -34), 0, 1.1).astype(np.float32)
    return Light(
        azimuth=float(rng.uniform(0.15, 1.0) * rng.choice((-1, 1))),
        elevation=float(rng.uniform(0.35, 0.9)),
        color=color,
        ambient=(color * np.float32(rng.uniform(0.45, 0.7))).astype(np.float32),
        softness=float(rng.uniform(0.3, 0.95)),
    )


def falloff(c: Canvas, light: Light, depth: float = 0.5) -> Array:
    """Brightness and tint (H, W, 3) of a flat surface that fills the picture.

    Args:
        c: the canvas.
        light: its azimuth and elevation say from which side of the picture it fades.
        depth: 0 even; at 0.5 the far corner has half of the light.
    """
    distance = c.distance(
        c.width * (0.5 + 0.75 * light.azimuth), c.height * (0.5 - 0.8 * light.elevation)
    )
    shade = np.float32(depth) * smoothstep(0.1, 1.35, distance)
    fill = light.ambient / light.ambient.mean() - light.color / light.color.mean()
    lit = light.color * (1.08 - shade)[..., None] + 0.3 * fill * shade[..., None]
    return np.maximum(lit, 0).astype(np.float32)


def emboss(c: Canvas, height: Array, light: Light) -> Array:
    """Brightness factor (H, W) around 1 of a relief of `height` (units) that faces the camera."""
    down, right = np.gradient(height)
    raking = (right * light.azimuth - down * max(light.elevation, 0.3)) * -c.unit_px
    return np.clip(1 + raking, 0.35, 1.6).astype(np.float32)
