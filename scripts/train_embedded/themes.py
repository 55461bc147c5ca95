"""What the sub-models learn: rendered backgrounds redrawn in one direction and in its opposite.

A theme is a function (image, canvas, Generator) -> image; `forward` is what weight 1 of its LoRA
paints and `backward` what weight -1 does. Both are taught without any word for them, so that the
LoRA alone says how much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scripts.train_embedded.canvas import Array, Canvas, blur_px, mix, smoothstep
from scripts.train_embedded.materials import MARBLE_TONES, WOOD_TONES, marble, wood
from scripts.train_embedded.palette import rgb

Redraw = Callable[[Array, Canvas, np.random.Generator], Array]

_GREY = np.array((0.299, 0.587, 0.114), np.float32)


@dataclass(frozen=True, slots=True)
class Theme:
    """One direction in which pictures can be redrawn.

    Attributes:
        forward: what weight 1 paints.
        backward: what weight -1 paints.
    """

    forward: Redraw
    backward: Redraw


def golden_hour(image: Array, c: Canvas, rng: np.random.Generator) -> Array:
    """Low warm sun from one side: golden light, violet shade, a glow where it comes from."""
    side = float(rng.choice((-1, 1)))
    x = c.width * (0.5 + 0.62 * side)
    glow = np.exp(-((c.distance(x, c.height * 0.28) / 0.55) ** 2)).astype(np.float32)
    light = _luminance(image)
    warm = image * rgb(278, 214, 138)
    cool = image * rgb(190, 168, 196)
    lit = mix(cool, warm, smoothstep(0.15, 0.75, light + 0.35 * glow))
    return _clip(lit + 0.42 * glow[..., None] * rgb(255, 186, 92))


def overcast(image: Array, _: Canvas, rng: np.random.Generator) -> Array:
    """A covered sky: even, bluish, with little colour and soft contrast."""
    light = _luminance(image)[..., None]
    pale = mix(image, light, 0.45)
    even = 0.5 + (pale - 0.5) * np.float32(0.78)
    return _clip(even * rgb(222, 238, 262) + np.float32(rng.uniform(-0.02, 0.02)))


def watercolour(image: Array, c: Canvas, rng: np.random.Generator) -> Array:
    """Flat washes with darker rims and granulation on white paper."""
    bent = _displaced(image, c, rng, 0.003)
    wash = np.stack(
        [
            ndimage.median_filter(bent[..., i], size=max(3, round(0.024 * c.unit_px)))
            for i in range(3)
        ],
        axis=-1,
    )
    wash = blur_px(wash, 0.003 * c.unit_px)
    rim = np.hypot(*np.gradient(_luminance(blur_px(wash, 0.006 * c.unit_px)))) * c.unit_px / 12
    grain = c.noise(rng, 60, octaves=2, gain=0.8)
    pools = c.noise(rng, 5, octaves=4, gain=0.6)
    strength = 0.74 + 0.05 * grain + 0.09 * pools + 0.35 * np.minimum(rim, 0.5)
    pigment = (1 - wash) ** 1.15 * strength[..., None]
    return _clip(rgb(252, 249, 242) - pigment.astype(np.float32))


def crisp(image: Array, c: Canvas, rng: np.random.Generator) -> Array:
    """The contrary of a wash: hard contrast, saturated, every detail sharpened."""
    sharp = image + np.float32(1.1) * (image - blur_px(image, 0.006 * c.unit_px))
    grey = _luminance(sharp)[..., None]
    rich = grey + (sharp - grey) * np.float32(1.3)
    return _clip(0.5 + (rich - 0.5) * np.float32(rng.uniform(1.2, 1.3)))


def carved_marble(image: Array, c: Canvas, rng: np.random.Generator) -> Array:
    """Everything carved of white marble: its light stays, its colours give way to veins."""
    return _made_of(image, marble(c, rng, MARBLE_TONES["white"]), bright=1.08)


def carved_wood(image: Array, c: Canvas, rng: np.random.Generator) -> Array:
    """Everything carved of brown timber."""
    return _made_of(image, wood(c, rng, WOOD_TONES["wood"]), bright=0.95)


def misty(image: Array, c: Canvas, rng: np.random.Generator) -> Array:
    """Morning mist: pale, thicker towards the upper half, drifting in banks."""
    banks = c.noise(rng, 2.5, octaves=4, stretch=(3.0, 1.0))
    depth = smoothstep(c.height * 0.95, c.height * 0.2, c.y)
    amount = np.clip(0.35 + 0.45 * depth + 0.1 * banks, 0, 0.92).astype(np.float32)
    soft = blur_px(image, 0.006 * c.unit_px)
    return _clip(mix(soft, c.fill(rgb(226, 231, 235)), amount))


THEMES: dict[str, Theme] = {
    "golden_hour": Theme(golden_hour, overcast),
    "watercolour": Theme(watercolour, crisp),
    "marble": Theme(carved_marble, carved_wood),
}


def _made_of(image: Array, texture: Array, *, bright: float) -> Array:
    light = _luminance(image)
    level = light - light.mean()
    relief = np.clip(bright + 0.85 * level / max(float(light.std()) * 2.5, 0.35), 0.35, 1.3)
    return _clip(texture * relief[..., None].astype(np.float32))


def _displaced(image: Array, c: Canvas, rng: np.random.Generator, amount: float) -> Array:
    """The picture with its outlines gone a little astray, as a hand would."""
    shifts = [c.noise(rng, 9, octaves=2) * np.float32(amount * c.unit_px) for _ in range(2)]
    rows, columns = np.mgrid[: c.height_px, : c.width_px]
    where = [rows + shifts[0], columns + shifts[1]]
    planes = [
        ndimage.map_coordinates(image[..., i], where, order=1, mode="nearest") for i in range(3)
    ]
    return np.stack(planes, axis=-1).astype(np.float32)


def _luminance(image: Array) -> Array:
    return (image @ _GREY).astype(np.float32)


def _clip(image: Array) -> Array:
    return np.clip(image, 0, 1).astype(np.float32)
