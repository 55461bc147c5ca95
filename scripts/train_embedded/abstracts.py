"""Abstract wallpapers: waves and gradients of two colours."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, mix, smoothstep
from scripts.train_embedded.light import indoor
from scripts.train_embedded.palette import named
from scripts.train_embedded.paper import contrasting
from scripts.train_embedded.scene import Scene
from scripts.train_embedded.words import either, say


def abstract(c: Canvas, rng: np.random.Generator) -> Scene:
    """Flowing bands or glowing gradients, both colours clearly visible."""
    light = indoor(rng, warm=0.0)
    names = _pair(rng)
    first, second = named(names[0], rng), named(names[1], rng)
    style = rng.choice(("waves", "flow", "glow"), p=(0.45, 0.3, 0.25))
    draw = {"waves": _waves, "flow": _flow, "glow": _glow}[str(style)]
    details = {
        "waves": either(rng, "layered waves", "smooth waves", "curved layers"),
        "flow": either(rng, "flowing bands", "flowing lines", "smooth curves"),
        "glow": either(rng, "soft gradient", "smooth color gradient"),
    }
    one, two = say(rng, names[0]), say(rng, names[1])
    main = either(
        rng,
        f"abstract {one} and {two} {say(rng, 'background')}",
        f"{one} and {two} abstract {say(rng, 'background')}",
        f"abstract {one} and {two} waves",
        f"abstract {one} and {two} gradient",
        f"abstract wallpaper in {one} and {two}",
    )
    return Scene(
        image=np.clip(draw(c, rng, first, second), 0, 1).astype(np.float32),
        kind="abstract",
        phrases=(main, details[str(style)]),
        light=light,
        colors=(("first", names[0]), ("second", names[1])),
    )


def _pair(rng: np.random.Generator) -> tuple[str, str]:
    """Two colours far apart, at least one of which is no shade of gray."""
    while True:
        names = contrasting(rng, 0.85)
        if not set(names) <= {"white", "gray", "black"}:
            return names


def _waves(c: Canvas, rng: np.random.Generator, first: Array, second: Array) -> Array:
    """Sheets that overlap, each with a curved upper edge that shades the one behind."""
    count = int(rng.integers(5, 8))
    tilt = rng.uniform(-0.45, 0.45)
    sweep = rng.uniform(3.0, 5.5)
    phase = rng.uniform(0, 6)
    image = c.fill(mix(first, np.ones(3, np.float32), 0.12))
    for sheet in range(count):
        share = sheet / (count - 1)
        level = c.height * (sheet + 0.3) / (count + 0.4)
        phase += rng.uniform(0.5, 1.2)
        rise = rng.uniform(0.04, 0.085) * np.sin(c.x[:1] * sweep + phase)
        rise = rise + 0.03 * np.sin(c.x[:1] * sweep * 1.9 + 1.7 * phase)
        depth = c.y - (level + rise + tilt * (c.x[:1] - c.width / 2)).astype(np.float32)
        shade = smoothstep(-0.1, 0.0, depth) * 0.34
        image = image * (1 - shade[..., None])
        tone = mix(first, second, float(smoothstep(0.15, 0.72, np.float32(share))))
        if sheet % 2 and rng.random() < 0.35:
            tone = second if share < 0.5 else first
        lit = mix(tone, np.ones(3, np.float32), 0.3)
        face = mix(c.fill(lit), c.fill(tone * np.float32(0.92)), smoothstep(0.0, 0.2, depth))
        image = mix(image, face, c.aa(-depth))
    return image


def _flow(c: Canvas, rng: np.random.Generator, first: Array, second: Array) -> Array:
    """Bands that follow one bent field, each with a lit and a shaded flank."""
    angle = rng.uniform(-0.9, 0.9) + rng.choice((0, np.pi / 2))
    run = c.x * np.cos(angle) + c.y * np.sin(angle)
    field = run * rng.uniform(1.6, 2.4) + 0.42 * c.noise(rng, 0.9, octaves=2, gain=0.3)
    place = field * rng.uniform(1.2, 1.8) + rng.random()
    band = place - np.floor(place)
    # Folded back over its last tenth, so that a band ends in a soft edge and not in a cut.
    ramp = np.where(band < 0.9, band / 0.9, smoothstep(1.0, 0.9, band))
    image = mix(c.fill(first), c.fill(second), smoothstep(0.08, 0.92, ramp))
    shade = smoothstep(0.0, 0.12, band) * smoothstep(1.0, 0.86, band)
    glow = np.exp(-(((band - 0.84) / 0.07) ** 2))
    return image * (0.78 + 0.24 * shade)[..., None] + 0.16 * glow[..., None]


def _glow(c: Canvas, rng: np.random.Generator, first: Array, second: Array) -> Array:
    """Large lights of both colours that run into each other along S-shaped borders."""
    angle = rng.uniform(0, 2 * np.pi)
    across = (c.x - c.width / 2) * np.cos(angle) + (c.y - c.height / 2) * np.sin(angle)
    along = (c.y - c.height / 2) * np.cos(angle) - (c.x - c.width / 2) * np.sin(angle)
    bend = rng.uniform(0.1, 0.16) * np.sin(along * rng.uniform(4.5, 6.5) + rng.uniform(0, 6))
    place = (across + bend).astype(np.float32) * np.float32(rng.uniform(6.0, 9.0))
    wave = np.sin(place + np.float32(rng.uniform(0, 6)))
    image = mix(c.fill(first), c.fill(second), smoothstep(-0.9, 0.9, wave))
    bright = mix((first + second) / 2, np.ones(3, np.float32), 0.5)
    border = np.exp(-(((wave - 0.25) / 0.38) ** 2)) * (0.34 + 0.1 * c.noise(rng, 1.5, octaves=2))
    return mix(image, c.fill(bright), border) * (0.97 + 0.06 * wave)[..., None]
