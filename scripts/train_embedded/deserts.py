"""Desert: sand dunes with sharp crests between a lit and a shaded side."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from scripts.train_embedded.canvas import Array, Canvas, mix, sample, smoothstep
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

# sand colour, its name in captions (None: not named)
_SANDS: tuple[tuple[Array, str | None], ...] = (
    (rgb(232, 196, 142), None),
    (rgb(226, 172, 104), "gold"),
    (rgb(214, 132, 78), "orange"),
    (rgb(196, 104, 66), "red"),
)
_TIMES = ("day", "sunset", "sunrise", "dusk")


def desert(c: Canvas, rng: np.random.Generator) -> Scene:
    """Dunes in perspective under a wide sky."""
    horizon = float(c.height * rng.uniform(0.3, 0.46))
    time = str(rng.choice(_TIMES, p=(0.5, 0.25, 0.17, 0.08)))
    sky = draw_sky(c, rng, horizon=horizon, time_of_day=time)
    sand, sand_name = _SANDS[rng.choice(len(_SANDS), p=(0.32, 0.33, 0.23, 0.12))]
    sand = np.clip(sand * rng.uniform(0.92, 1.05) + rng.normal(0, 0.008, 3), 0, 1).astype(
        np.float32
    )
    fan = sight_lines(c, horizon, far=46.0, steps=260)
    heights = _dunes(c, rng, fan, sky.light.azimuth)
    view = look(c, fan, heights)
    sunlight = _sunlight(c, rng, fan, heights, view, sky.light)
    ground = _shade(fan, view, sunlight, sand, sky.light, sky.horizon_color)
    image = mix(sky.image, ground, view.coverage)
    phrases = [say(rng, "desert"), either(rng, "sharp dune crest", "curved dunes", "sand ripples")]
    colors: tuple[tuple[str, str], ...] = ()
    if sand_name is not None and time == "day":
        phrases.append(f"{say(rng, sand_name)} sand")
        colors += (("sand", sand_name),)
    if rng.random() < 0.5:
        phrases.append(sky.phrases[0])
        colors += sky.colors
    return Scene(
        np.clip(image, 0, 1),
        "desert",
        tuple(phrases),
        sky.light,
        colors=colors,
        ground=Ground(0.22 * c.width, 0.78 * c.width, 0.74 * c.height, 0.96 * c.height),
    )


def _dunes(c: Canvas, rng: np.random.Generator, fan: Fan, azimuth: float) -> Array:
    """Heights of dunes: a gentle windward slope, a crest, a steep slip face."""
    wander = c.noise(rng, 2.2, octaves=3, gain=0.35)
    size = c.noise(rng, 2.5, octaves=2)
    spread = np.float32(1 / 46)
    u, v = fan.across * spread + np.float32(0.5), fan.away * spread + 0 * fan.across
    # Slip faces look away from the sun and, mostly, towards the camera: both sides show.
    heading = np.radians(rng.uniform(8, 46) * (1 if rng.random() < 0.8 else -0.7))
    towards = (-np.sign(azimuth) * np.cos(heading), -np.sin(heading))
    length = rng.uniform(4.4, 7.5)
    crest = float(rng.uniform(0.62, 0.72))
    hero = (rng.uniform(-1.3, 1.3), rng.uniform(4.0, 6.5))
    along = (fan.across - hero[0]) * towards[0] + (fan.away - hero[1]) * towards[1]
    winding = sample(wander, u, v)
    bend = np.float32(rng.uniform(0.25, 0.45)) * winding
    turn = along.astype(np.float32) / np.float32(length) + crest + bend
    phase = turn - np.floor(turn)
    windward = (phase / crest) ** 1.35
    slip = np.clip((1 - phase) / (1 - crest), 0, 1)
    profile = np.where(phase < crest, windward, slip**1.15)
    tall = np.clip(1.0 + 0.4 * sample(size, u * 1.3, v * 1.3), 0.35, 2.0)
    nearest = float(fan.away[0, 0])
    grow = 0.22 + 0.78 * smoothstep(nearest * 1.2, nearest * 4.2, fan.away)
    swell = 0.2 * winding
    height = length * rng.uniform(0.2, 0.25) * tall * profile * grow + swell * grow
    # Crests sharper than the fan's steps would come out as saw teeth against what is behind.
    return ndimage.gaussian_filter1d(height.astype(np.float32), 1.7, axis=0, mode="nearest")


def _sunlight(
    c: Canvas,
    rng: np.random.Generator,
    fan: Fan,
    heights: Array,
    view: View,
    light: Light,
) -> Array:
    """(H, W) sun on the sand: dune sides, cast shadows and the ripples of the foreground."""
    surface = relief(c, fan, heights)
    low = min(light.elevation, 0.3)
    lit = sunlit(surface, light.azimuth, low)
    lit = np.minimum(lit, 1.9) * (1 - 0.92 * cast_shadows(fan, surface, light.azimuth, low))
    sun = view.look_up(lit)
    away = view.look_up(fan.away)
    across = (c.x - np.float32(c.width / 2)) * away
    wobble = sample(c.noise(rng, 3, octaves=3), across * 0.12 + 0.5, away * 0.09)
    slant = rng.uniform(-0.5, 0.5)
    wave = np.float32(rng.uniform(9, 13)) * (away + slant * across) + 2.4 * wobble
    # Ripples merge into a smooth tone where they would be finer than the picture can show.
    visible = smoothstep(5.2, 2.4, away)
    ripples = np.sin(wave + 0.5 * np.sin(wave)) * visible
    return sun * (1 + 0.2 * ripples) + 0.03 * ripples


def _shade(
    fan: Fan,
    view: View,
    sunlight: Array,
    sand: Array,
    light: Light,
    haze: Array,
) -> Array:
    """Sand under sun and sky, paler with distance."""
    sunlight = (np.clip(sunlight, 0, 2.2) / 1.25)[..., None]
    warmth = light.color / max(float(light.color.max()), 0.4)
    # Sunlit sand around it lights the shade as well as the sky does.
    fill = sand * (light.ambient * np.float32(0.42) + light.color * rgb(42, 30, 24))
    direct = sand * warmth * np.float32(1.02) - fill
    ground = fill + direct * (1 - np.exp(-1.5 * sunlight)) * np.float32(1.18)
    distance = view.look_up(fan.away)
    far = (1 - np.exp(-distance / 34))[..., None]
    return (ground + (haze - ground) * far).astype(np.float32)
