"""Bokeh: lights far out of focus, each a disc of the lens's aperture with a brighter rim."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, mix, smoothstep
from scripts.train_embedded.light import Light, indoor
from scripts.train_embedded.palette import named, pick, rgb
from scripts.train_embedded.scene import Scene
from scripts.train_embedded.words import either, say

# Colours a lamp can have: black, brown, navy and gray do not shine.
LIGHT_COLORS = (
    "red",
    "orange",
    "yellow",
    "green",
    "teal",
    "blue",
    "purple",
    "pink",
    "white",
    "gold",
    "mint",
    "lavender",
)


def bokeh(c: Canvas, rng: np.random.Generator) -> Scene:
    """Round defocused lights of one colour family."""
    color_name = pick(rng, among=LIGHT_COLORS)
    word = say(rng, color_name)
    main = either(
        rng, f"{word} bokeh lights", f"{word} bokeh", f"{word} bokeh background", "bokeh lights"
    )
    details = [either(rng, "blurred lights", "defocused light circles", "out of focus lights")]
    if main == "bokeh lights":
        details.append(f"{word} lights")
    dark = rng.random() < 0.65
    if dark:
        details.append(either(rng, "dark background", "dark backdrop"))
    return Scene(
        image=draw_bokeh(c, rng, color_name, dark=dark),
        kind="bokeh",
        phrases=(main, *details),
        light=_glow_light(rng, color_name),
        colors=(("lights", color_name),),
    )


def draw_bokeh(
    c: Canvas, rng: np.random.Generator, color_name: str, *, dark: bool | None = None
) -> Array:
    """Discs of light in a colour family, also for the far side of a table.

    Args:
        c: the canvas.
        rng: the picture's generator.
        color_name: one of LIGHT_COLORS, though any palette name works.
        dark: a dark background or one of middle brightness; random by default.

    Returns:
        (H, W, 3) float32 in 0..1.
    """
    if dark is None:
        dark = rng.random() < 0.65
    hue = named(color_name, rng)
    image = _background(c, rng, hue, dark=dark)
    size = float(rng.uniform(0.034, 0.062))
    places = _places(c, rng, size)
    strengths = rng.uniform(0.3, 1.0, len(places)) * rng.uniform(0.75, 1.0)
    for (x, y), strength in zip(places, strengths, strict=True):
        radius = float(np.clip(size * rng.normal(1.0, 0.22), 0.023, 0.078))
        whiteness = rng.uniform(0.0, 0.4) * strength
        color = mix(hue, rgb(255, 250, 238), float(whiteness))
        color = np.clip(color * rng.uniform(0.95, 1.2) + rng.normal(0, 0.025, 3), 0, 1)
        _add_disc(c, image, float(x), float(y), radius, color * np.float32(strength))
    return np.clip(image, 0, 1).astype(np.float32)


def _background(c: Canvas, rng: np.random.Generator, hue: Array, *, dark: bool) -> Array:
    """Soft blotches of the lights' own colour, as everything else far out of focus."""
    level = rng.uniform(0.1, 0.2) if dark else rng.uniform(0.34, 0.5)
    neutral = rgb(40, 34, 44) if dark else rgb(120, 116, 118)
    base = hue * np.float32(level) * np.float32(1.1) + neutral * np.float32(0.25)
    glow = smoothstep(-1.4, 1.8, c.noise(rng, 1.6, octaves=2))
    tilt = 1 + rng.uniform(-0.25, 0.25) * (c.y / c.height - 0.5) * 2
    bright = np.clip(base * np.float32(1.9), 0, 1)
    return mix(c.fill(base * np.float32(0.6)), c.fill(bright), glow * tilt)


def _places(c: Canvas, rng: np.random.Generator, size: float) -> Array:
    """(n, 2) centres: scattered all over, in a band, along strings, or denser to one side."""
    layout = rng.choice(("scattered", "band", "strings", "side"), p=(0.45, 0.2, 0.2, 0.15))
    if layout == "strings":
        return _strings(c, rng, size)
    count = int(rng.uniform(0.26, 0.44) / size**2 * 0.62)
    x = rng.uniform(-0.03, c.width + 0.03, count)
    if layout == "band":
        y = rng.normal(rng.uniform(0.35, 0.65), 0.17, count) * c.height
        y[: count // 3] = rng.uniform(0, c.height, count // 3)
    elif layout == "side":
        towards = rng.beta(1.0, 1.8, count)
        y = c.height * (towards if rng.random() < 0.5 else 1 - towards)
    else:
        y = rng.uniform(-0.03, c.height + 0.03, count)
    return np.stack([x, y], axis=1)


def _strings(c: Canvas, rng: np.random.Generator, size: float) -> Array:
    """Centres along hanging strings of fairy lights, and a few beside them."""
    centres = []
    strings = int(rng.integers(5, 8))
    gap = size * rng.uniform(1.7, 2.3)
    for row in range(strings):
        x = np.arange(rng.uniform(-gap, 0), c.width + gap, gap)
        sag = rng.uniform(0.05, 0.16) * (1 - ((x - c.width / 2) / (c.width / 2)) ** 2)
        tilt = rng.uniform(-0.12, 0.12) * (x - c.width / 2)
        top = (row + rng.uniform(0.1, 0.7)) / strings * c.height - 0.05
        centres.append(np.stack([x + rng.normal(0, gap * 0.12, x.size), top + sag + tilt], axis=1))
    loose = rng.uniform(0, 1, (8, 2)) * (c.width, c.height)
    return np.concatenate([*centres, loose])


def _add_disc(c: Canvas, image: Array, x: float, y: float, radius: float, light: Array) -> None:
    """Screens one disc onto the image in place; only the pixels around it are touched."""
    where = c.window(x - radius, y - radius, x + radius, y + radius)
    distance = np.hypot(c.x[where] - np.float32(x), c.y[where] - np.float32(y))
    profile = 0.7 + 0.3 * smoothstep(0.72 * radius, 0.95 * radius, distance)
    softness = np.float32(1.6)
    disc = np.clip((radius - distance) * c.unit_px / softness, 0, 1) * profile
    image[where] = 1 - (1 - image[where]) * (1 - disc[..., None] * light)


def _glow_light(rng: np.random.Generator, color_name: str) -> Light:
    """The lights fill the room from everywhere: soft, tinted and rather dim."""
    room = indoor(rng)
    tint = mix(rgb(255, 250, 242), named(color_name), 0.25)
    return Light(
        azimuth=room.azimuth,
        elevation=room.elevation,
        color=tint,
        ambient=(tint * np.float32(0.6)).astype(np.float32),
        softness=0.9,
    )
