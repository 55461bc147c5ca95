"""Water seen from above: pools with caustics, deep blue ripples, rings of drops."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, mix, smoothstep
from scripts.train_embedded.light import Light, daylight
from scripts.train_embedded.palette import rgb
from scripts.train_embedded.scene import Scene
from scripts.train_embedded.words import either, say

# Water's own colour where it is deep, where it is shallow, and its name.
_POOL = (
    (rgb(20, 140, 172), rgb(112, 214, 220), "teal"),
    (rgb(18, 118, 190), rgb(92, 196, 232), "blue"),
)
_DEEP = ((rgb(8, 44, 98), rgb(40, 110, 178), "blue"), (rgb(6, 66, 92), rgb(40, 140, 156), "teal"))


def water(c: Canvas, rng: np.random.Generator) -> Scene:
    """A water surface that fills the picture."""
    light = daylight(rng, "day")
    look = rng.choice(("pool", "deep", "drops"), p=(0.45, 0.3, 0.25))
    if look == "pool":
        image, name, details = _pool(c, rng)
    elif look == "deep":
        image, name, details = _deep(c, rng, light)
    else:
        image, name, details = _drops(c, rng, light)
    spoken = {"teal": "turquoise", "blue": say(rng, "blue")}[name]
    main = either(
        rng,
        f"{spoken} {say(rng, 'water')}",
        f"{spoken} water surface",
        f"{spoken} {say(rng, 'water')} from above",
    )
    return Scene(
        image=np.clip(image, 0, 1).astype(np.float32),
        kind="water",
        phrases=(main, *details),
        light=light,
        colors=(("background", name),),
    )


def _pool(c: Canvas, rng: np.random.Generator) -> tuple[Array, str, list[str]]:
    """Shallow water over a bright floor, under a net of caustics."""
    deep, shallow, name = _POOL[int(rng.integers(len(_POOL)))]
    net = _caustics(c, rng)
    sway = c.noise(rng, 3.5, octaves=2)
    depth = np.clip(0.5 + 0.3 * c.noise(rng, 1.2, octaves=2) - 0.12 * sway, 0, 1)
    image = mix(c.fill(shallow), c.fill(deep), depth)
    details = [either(rng, "caustics", "rippling light", "swimming pool")]
    if rng.random() < 0.3:
        image = image * (1 - 0.16 * _tiles(c, rng, sway))[..., None]
        details.append("pool tiles")
    image = image * (0.9 + 0.08 * sway)[..., None]
    image = 1 - (1 - image) * (1 - 0.8 * net[..., None] * rgb(225, 250, 240))
    return image, name, details


def _deep(c: Canvas, rng: np.random.Generator, light: Light) -> tuple[Array, str, list[str]]:
    """Deep water with sky on its ripples and the sun on some of them."""
    deep, lit, name = _DEEP[int(rng.integers(len(_DEEP)))]
    waves = _ripples(c, rng)
    across = (c.x / c.width - 0.5) * np.float32(light.azimuth) - 0.5 * (c.y / c.height - 0.5)
    image = mix(c.fill(deep), c.fill(lit), smoothstep(-1.6, 2.0, waves + 0.9 * across))
    sky = smoothstep(0.6, 2.1, waves + 0.6 * across)
    image = mix(image, c.fill(rgb(150, 205, 238)), 0.5 * sky)
    glints = smoothstep(1.85, 2.4, waves + 1.3 * across)
    glow = c.blur(glints, 0.014)
    image = image + (0.75 * glints + 0.35 * glow)[..., None] * light.color
    return image, name, ["ripples", either(rng, "sun glints", "sparkling sunlight")]


def _drops(c: Canvas, rng: np.random.Generator, light: Light) -> tuple[Array, str, list[str]]:
    """Calm water and rings that run out from one or two drops."""
    palette = (*_POOL, *_DEEP)
    deep, lit, name = palette[int(rng.integers(len(palette)))]
    height = np.zeros_like(c.x)
    for strength in (1.0, 0.55)[: int(rng.choice((1, 2), p=(0.7, 0.3)))]:
        x, y = c.width * rng.uniform(0.15, 0.85), c.height * rng.uniform(0.15, 0.85)
        away = np.hypot(c.x - x, (c.y - y) * 1.12)
        fade = strength * np.exp(-((away / rng.uniform(0.35, 0.6)) ** 2)) + 0.12 * strength**3
        height += fade * np.sin(away * rng.uniform(62, 90) - 12 * away**2) * 0.013
    slope_y, slope_x = np.gradient(height, np.float32(1 / c.unit_px))
    facing = slope_x * np.float32(light.azimuth) - slope_y * 0.9 + 0.12 * c.noise(rng, 3, octaves=3)
    across = (c.x / c.width - 0.5) * np.float32(light.azimuth) - 0.7 * (c.y / c.height - 0.5)
    image = mix(c.fill(deep), c.fill(lit), smoothstep(-1.1, 1.1, facing + 0.8 * across))
    shine = smoothstep(0.35, 1.15, facing + 0.25 * across)
    image = image + 0.55 * shine[..., None] * rgb(235, 248, 255)
    return image, name, [either(rng, "concentric ripples", "drop ripples", "round ripples")]


def _ripples(c: Canvas, rng: np.random.Generator) -> Array:
    """Crossing waves with sharp crests, mean 0 and variance 1."""
    total = 0.5 * c.noise(rng, 4, octaves=3, stretch=(1.6, 0.8))
    main = rng.uniform(-0.5, 0.5)
    warp = 1.2 * c.noise(rng, 2.5, octaves=3)
    for wave in range(3):
        angle = main + np.pi / 2 + rng.uniform(-0.5, 0.5)
        frequency = rng.uniform(24, 34) * 1.5**wave
        run = (c.x * np.cos(angle) + c.y * np.sin(angle)) * frequency + rng.uniform(0, 6)
        total = total + (1 - 1.5 * np.abs(np.sin(0.5 * run + warp))) * 0.9 / 1.3**wave
    total = total - total.mean()
    return (total / (total.std() + 1e-6)).astype(np.float32)


def _caustics(c: Canvas, rng: np.random.Generator) -> Array:
    """(H, W) the net of light on the floor: where the rays bent by the waves end up."""
    waves = c.noise(rng, rng.uniform(5.5, 7.5), octaves=2, gain=0.3)
    slope_y, slope_x = np.gradient(waves)
    curvature = np.gradient(slope_y, axis=0) + np.gradient(slope_x, axis=1)
    focus = np.float32(rng.uniform(0.85, 1.15) / curvature.std())
    # Rays also come in from outside of the picture: its edge is drawn from rays well inside.
    zoom = 1.14
    rows, columns = np.indices(waves.shape, np.float32)
    down = (rows + focus * slope_y - c.height_px / 2) * zoom + c.height_px / 2
    right = (columns + focus * slope_x - c.width_px / 2) * zoom + c.width_px / 2
    net = c.blur(_splat(down, right, waves.shape) * np.float32(zoom**2), 0.0042)
    return smoothstep(0.75, 3.0, net) + 0.12 * smoothstep(0.2, 1.0, net)


def _splat(down: Array, right: Array, shape: tuple[int, ...]) -> Array:
    """How many points fall on each pixel, each shared among its four neighbours."""
    row, column = np.floor(down).astype(np.int64), np.floor(right).astype(np.int64)
    part_down, part_right = down - row, right - column
    total = np.zeros(shape[0] * shape[1])
    for step_down in (0, 1):
        for step_right in (0, 1):
            r, k = row + step_down, column + step_right
            weight = np.abs(1 - step_down - part_down) * np.abs(1 - step_right - part_right)
            inside = (r >= 0) & (r < shape[0]) & (k >= 0) & (k < shape[1])
            place = (r * shape[1] + k)[inside]
            total += np.bincount(place, weight[inside], minlength=len(total))
    return total.reshape(shape).astype(np.float32)


def _tiles(c: Canvas, rng: np.random.Generator, sway: Array) -> Array:
    """(H, W) joints of the pool's tiles, bent by the waves."""
    pitch = rng.uniform(0.13, 0.18)
    across = (c.x + 0.009 * sway) / pitch + rng.random()
    down = (c.y + 0.009 * np.roll(sway, 40, axis=1)) / pitch + rng.random()
    from_joint = np.minimum(np.abs(across - np.round(across)), np.abs(down - np.round(down)))
    return smoothstep(0.06, 0.02, from_joint)
