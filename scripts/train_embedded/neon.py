"""Neon: glowing tubes in the dark, on a wall, along a street or down a tunnel, over wet ground."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, mix, smoothstep
from scripts.train_embedded.light import Light
from scripts.train_embedded.palette import rgb
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.words import either, say

# Colours of gas in a tube: purer than paint of the same name.
_GLOWS: dict[str, Array] = {
    "red": rgb(255, 38, 48),
    "orange": rgb(255, 98, 14),
    "yellow": rgb(255, 206, 24),
    "green": rgb(56, 255, 92),
    "teal": rgb(30, 232, 222),
    "blue": rgb(46, 104, 255),
    "purple": rgb(158, 62, 255),
    "pink": rgb(255, 92, 176),
    "white": rgb(236, 240, 255),
}
_PAIRS = (
    ("pink", "blue"),
    ("purple", "teal"),
    ("red", "blue"),
    ("pink", "teal"),
    ("orange", "blue"),
)

# Distance of (x, y) from a tube's centre line, in units.
Tube = Callable[[Array, Array], Array]


@dataclass(frozen=True, slots=True, eq=False)
class _Lamp:
    """One tube.

    Attributes:
        tube: distance from its centre line.
        gas: index of its colour.
        radius: of the glass, in units.
        floor: y of the ground straight below it, where its mirror image starts.
        power: 0 to 1.
    """

    tube: Tube
    gas: int
    radius: float
    floor: float
    power: float = 1.0


def neon(c: Canvas, rng: np.random.Generator) -> Scene:
    """Neon tubes in one or two colours; everything else is dark."""
    names = _color_names(rng)
    setting = str(rng.choice(("wall", "street", "tunnel"), p=(0.5, 0.2, 0.3)))
    draw = {"wall": _wall, "street": _street, "tunnel": _tunnel}[setting]
    glows = [_GLOWS[name] for name in names]
    lamps, backdrop, floor, shape = draw(c, rng, glows)
    image = _light_up(c, rng, lamps, glows, backdrop, floor)
    spoken = " and ".join(say(rng, name) for name in names)
    phrases = (
        either(rng, f"{spoken} neon lights", f"{spoken} neon", f"{spoken} neon glow"),
        shape,
        either(rng, "wet reflective ground", "glossy wet floor", "reflections on the floor"),
        either(rng, "dark surroundings", "dark background", "night"),
    )
    tint = np.mean([_GLOWS[name] for name in names], axis=0)
    light = Light(
        azimuth=float(rng.uniform(0.2, 0.8) * rng.choice((-1, 1))),
        elevation=0.5,
        color=mix(rgb(150, 150, 165), tint.astype(np.float32), 0.55),
        ambient=(0.12 + 0.2 * tint).astype(np.float32),
        softness=0.8,
        time_of_day="night",
    )
    ground = Ground(
        0.25 * c.width,
        0.75 * c.width,
        floor + 0.25 * (c.height - floor),
        floor + 0.88 * (c.height - floor),
        gloss=0.5,
        roughness=0.35,
    )
    colors = tuple(("neon", name) for name in names)
    return Scene(np.clip(image, 0, 1), "neon", phrases, light, colors, ground)


def _color_names(rng: np.random.Generator) -> tuple[str, ...]:
    """One colour, or two that go together."""
    if rng.random() < 0.5:
        return (str(rng.choice(tuple(_GLOWS))),)
    first, second = _PAIRS[rng.integers(len(_PAIRS))]
    return (first, second) if rng.random() < 0.5 else (second, first)


def _wall(
    c: Canvas, rng: np.random.Generator, glows: list[Array]
) -> tuple[list[_Lamp], Array, float, str]:
    """A rough dark wall with one large figure of tubes, the floor in front of it wet."""
    floor = float(c.height * rng.uniform(0.7, 0.8))
    shape = str(rng.choice(("ring", "frame", "arch", "lines", "triangle")))
    radius = float(rng.uniform(0.009, 0.013))
    size = float(min(rng.uniform(0.26, 0.34), 0.44 * c.width, 0.46 * floor))
    middle = max(floor - size * float(rng.uniform(1.08, 1.3)), size + 0.04)
    centre = (c.width * float(rng.uniform(0.44, 0.56)), middle)
    tubes = _figure(c, rng, shape, centre, size, floor, paired=len(glows) > 1)
    lamps = [_Lamp(tube, i % len(glows), radius, floor) for i, tube in enumerate(tubes)]
    plaster = 1 + 0.22 * c.noise(rng, 4, octaves=5, gain=0.6)
    wall = rgb(84, 84, 96) * np.clip(plaster, 0.4, 1.6)[..., None]
    phrase = {
        "ring": either(rng, "neon ring", "neon circle"),
        "frame": either(rng, "neon frame", "neon rectangle"),
        "arch": "neon arch",
        "lines": either(rng, "neon lines", "vertical neon tubes"),
        "triangle": "neon triangle",
    }[shape]
    return lamps, wall.astype(np.float32), floor, phrase


def _figure(
    c: Canvas,
    rng: np.random.Generator,
    shape: str,
    centre: tuple[float, float],
    size: float,
    floor: float,
    *,
    paired: bool,
) -> list[Tube]:
    """The tubes of one figure, large enough to frame a product; at least two if `paired`."""
    x, y = centre
    inner = size * float(rng.uniform(0.76, 0.84))
    double = paired or rng.random() < 0.5
    if shape == "ring":
        return [_ring(x, y, size)] + [_ring(x, y, inner)] * double
    if shape == "frame":
        wide = float(rng.uniform(0.8, 1.2))
        gap = size - inner
        outer = [_rectangle(x, y, size * wide, size)]
        return outer + [_rectangle(x, y, size * wide - gap, inner)] * double
    if shape == "arch":
        arch = _arch(x, floor, size * 0.85, size * 1.9)
        return [arch] + [_arch(x, floor, size * 0.85 - 0.05, size * 1.9 - 0.05)] * double
    if shape == "triangle":
        return [_triangle(x, y, size)] + [_triangle(x, y, size * 0.74)] * double
    count = int(rng.integers(4, 8))
    places = (np.arange(count) + 0.5 + rng.uniform(-0.15, 0.15, count)) / count * c.width
    tops = rng.uniform(0.04, 0.22, count) * c.height
    return [
        _polygon([(float(px), float(top)), (float(px), floor - 0.03)], closed=False)
        for px, top in zip(places, tops, strict=True)
    ]


def _street(
    c: Canvas, rng: np.random.Generator, glows: list[Array]
) -> tuple[list[_Lamp], Array, float, str]:
    """A street between dark house fronts with upright signs that recede into haze."""
    horizon = float(c.height * rng.uniform(0.55, 0.64))
    vanish = c.width * float(rng.uniform(0.42, 0.58))
    lamps = []
    for side in (-1, 1):
        depth = float(rng.uniform(1.0, 1.2))
        for number in range(5):
            x = vanish + side * 0.41 / depth * (1 + 0.12 * rng.random())
            height = float(rng.uniform(0.32, 0.46)) / depth
            middle = horizon - float(rng.uniform(0.2, 0.38)) / depth
            half = 0.06 / depth
            if rng.random() < 0.4:
                tube = _polygon([(x, middle - height / 2), (x, middle + height / 2)], closed=False)
            else:
                tube = _rectangle(x, middle, half, height / 2)
            gas = (number + (side > 0)) % len(glows)
            foot = horizon + 0.24 / depth
            lamps.append(_Lamp(tube, gas, 0.011 / depth**0.7, foot, 1.0 / depth**0.3))
            depth *= float(rng.uniform(1.3, 1.6))
    aside = np.abs(c.x - np.float32(vanish))
    fronts = c.noise(rng, 5, octaves=4, stretch=(0.6, 2.5))
    wall = rgb(60, 60, 76) * np.clip(1 + 0.3 * fronts, 0.3, 1.8)[..., None]
    gap = smoothstep(0.2, 0.0, aside + 0.12 * np.maximum(horizon - c.y, 0))
    haze = np.mean(glows, axis=0).astype(np.float32) * np.float32(0.5) + rgb(30, 30, 60)
    wall = mix(wall.astype(np.float32), c.fill(haze) * np.float32(1.6), gap * np.float32(0.8))
    phrase = either(rng, "neon street at night", "neon signs")
    return lamps, wall, horizon + 0.02, phrase


def _tunnel(
    c: Canvas, rng: np.random.Generator, glows: list[Array]
) -> tuple[list[_Lamp], Array, float, str]:
    """Arches or gates of tubes, one behind the other."""
    vanish_y = float(c.height * rng.uniform(0.5, 0.58))
    vanish_x = c.width * float(rng.uniform(0.46, 0.54))
    round_top = rng.random() < 0.4
    half, below, above = 0.46 * c.width, c.height * 0.9 - vanish_y, vanish_y * 0.86
    lamps = []
    depth = 1.0
    for number in range(5):
        floor = vanish_y + below / depth
        height = (above + below) / depth
        gate = _arch if round_top else _gate
        tube = gate(vanish_x, floor, half / depth, height)
        gas = number % len(glows)
        lamps.append(_Lamp(tube, gas, 0.0125 / depth**0.75, floor, 1.0 / depth**0.25))
        depth *= 1.5
    aside = np.maximum(np.abs(c.x - vanish_x) / half, np.abs(c.y - vanish_y) / above)
    wall = rgb(66, 66, 78) * (0.35 + 0.65 * smoothstep(0.0, 1.0, aside))[..., None]
    phrase = either(rng, "neon tunnel", "neon corridor")
    return lamps, wall.astype(np.float32), vanish_y + below / depth, phrase


def _light_up(
    c: Canvas,
    rng: np.random.Generator,
    lamps: list[_Lamp],
    glows: list[Array],
    backdrop: Array,
    floor: float,
) -> Array:
    """Tubes, the light they throw on the backdrop, and their mirror images in the ground."""
    ripples = c.noise(rng, 5, octaves=4, stretch=(2.5, 0.8))
    depth = np.clip((c.y - floor) / (c.height - floor), 0, 1)
    bent_x = c.x + np.float32(0.012) * ripples * depth
    bent_y = c.y + np.float32(0.015) * ripples[:, ::-1] * depth
    puddles = 0.55 + 0.45 * smoothstep(-0.6, 0.7, ripples[::-1])
    spill, glare, mirrored = (np.zeros_like(backdrop) for _ in range(3))
    for gas, color in enumerate(glows):
        thrown, core, halo, wet_core, wet_halo = (np.zeros_like(c.x) for _ in range(5))
        for lamp in (lamp for lamp in lamps if lamp.gas == gas):
            distance = lamp.tube(c.x, c.y)
            thrown += lamp.power / (1 + (distance / np.float32(0.13)) ** 2)
            _add_glare(core, halo, distance, lamp, 0.0)
            rows = c.window(0, lamp.floor, c.width, c.height)
            distance = lamp.tube(bent_x[rows], 2 * np.float32(lamp.floor) - bent_y[rows])
            _add_glare(wet_core[rows], wet_halo[rows], distance, lamp, 0.011)
        spill += thrown[..., None] * color
        glare += core[..., None] * mix(color, rgb(255, 255, 255), 0.5) * np.float32(1.7)
        glare += halo[..., None] * color * np.float32(0.6)
        wet = mix(color, rgb(255, 255, 255), 0.15) * np.float32(0.8)
        mirrored += wet_core[..., None] * wet + wet_halo[..., None] * color * np.float32(0.6)
    spill *= np.float32(1.15 / max(1.0, len(lamps) ** 0.6))
    wall = backdrop * (rgb(22, 22, 34) + spill)
    rows = np.clip((2 * floor - bent_y) * c.unit_px, 0, c.height_px - 1).astype(np.int64)
    mirrored += wall[rows, np.arange(c.width_px)[None, :]]
    ground = rgb(26, 27, 34) * (0.35 + 0.9 * spill) + spill * np.float32(0.05)
    ground = ground * (0.8 + 0.2 * puddles)[..., None]
    ground = ground + mirrored * (np.float32(0.62) * puddles)[..., None]
    image = mix(wall, ground, smoothstep(-0.004, 0.006, c.y - floor)) + glare
    return 1 - np.exp(-1.25 * np.clip(image, 0, None))


def _add_glare(core: Array, halo: Array, distance: Array, lamp: _Lamp, blur: float) -> None:
    """Adds one tube and the halo around it in place; a wet ground blurs them."""
    radius = lamp.radius + blur
    inner = radius * (0.55 if blur == 0 else 0.0)
    core += smoothstep(radius, inner, distance) * np.float32(lamp.power)
    reach = np.float32(0.022 + 1.5 * blur)
    halo += np.exp(-np.maximum(distance - lamp.radius, 0) / reach) * np.float32(lamp.power)


def _ring(x: float, y: float, radius: float) -> Tube:
    return lambda px, py: np.abs(np.hypot(px - x, py - y) - radius)


def _rectangle(x: float, y: float, half_width: float, half_height: float) -> Tube:
    corner = 0.18 * min(half_width, half_height)

    def distance(px: Array, py: Array) -> Array:
        outside_x = np.abs(px - x) - (half_width - corner)
        outside_y = np.abs(py - y) - (half_height - corner)
        beyond = np.hypot(np.maximum(outside_x, 0), np.maximum(outside_y, 0))
        return np.abs(beyond + np.minimum(np.maximum(outside_x, outside_y), 0) - corner)

    return distance


def _polygon(corners: list[tuple[float, float]], *, closed: bool = True) -> Tube:
    ends = [*corners[1:], corners[0]] if closed else corners[1:]

    def distance(px: Array, py: Array) -> Array:
        nearest = None
        for (x0, y0), (x1, y1) in zip(corners, ends, strict=False):
            dx, dy = x1 - x0, y1 - y0
            t = np.clip(((px - x0) * dx + (py - y0) * dy) / (dx * dx + dy * dy), 0, 1)
            side = (px - x0 - t * dx) ** 2 + (py - y0 - t * dy) ** 2
            nearest = side if nearest is None else np.minimum(nearest, side)
        return np.sqrt(nearest)

    return distance


def _triangle(x: float, y: float, size: float) -> Tube:
    low = y + 0.6 * size
    return _polygon([(x, y - size), (x + 0.95 * size, low), (x - 0.95 * size, low)])


def _gate(x: float, floor: float, half_width: float, height: float) -> Tube:
    left, right, top = x - half_width, x + half_width, floor - height
    return _polygon([(left, floor), (left, top), (right, top), (right, floor)], closed=False)


def _arch(x: float, floor: float, half_width: float, height: float) -> Tube:
    spring = floor - max(height - half_width, 0.0)

    def distance(px: Array, py: Array) -> Array:
        bow = np.abs(np.hypot(px - x, np.minimum(py - spring, 0)) - half_width)
        return np.hypot(bow, np.maximum(py - floor, 0))

    return distance
