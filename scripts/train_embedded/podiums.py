"""Product podiums of one colour in a studio of another."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded import prisms
from scripts.train_embedded.canvas import Array, Canvas, mix, smoothstep
from scripts.train_embedded.light import Light, indoor
from scripts.train_embedded.palette import named
from scripts.train_embedded.paper import (
    contrasting,
    expose,
    floor_exposure,
    grain,
    room,
    side_of,
    wall_exposure,
)
from scripts.train_embedded.prisms import Prism
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.words import a_or_an, either, say


def podium(c: Canvas, rng: np.random.Generator) -> Scene:
    """A round, square, hexagonal or stepped podium, at times before an arch or among spheres."""
    light = indoor(rng)
    name, behind = contrasting(rng, 0.55)
    color, wall_color = named(name, rng), named(behind, rng)
    shape = str(rng.choice(("round", "square", "hexagonal"), p=(0.5, 0.28, 0.22)))
    bodies = _bodies(c, rng, shape)
    top, lowest = bodies[-1], bodies[0]
    foot_y = lowest.center_y + lowest.height
    back_y = foot_y - lowest.tilt * lowest.radius
    horizon = min(c.height * rng.uniform(0.56, 0.68), back_y - 0.015)
    image = _set(c, rng, wall_color, light, horizon)
    details = [_shape_words(rng, shape, len(bodies))]
    extra = rng.choice(("none", "arch", "disc", "spheres"), p=(0.45, 0.2, 0.12, 0.23))
    if extra in ("arch", "disc"):
        image = _panel(c, rng, image, extra, lowest, horizon, color, wall_color, light)
        details.append(either(rng, "arch behind", "arch") if extra == "arch" else "round panel")
    for below, body in zip((None, *bodies[:-1]), bodies, strict=True):
        standing_on = wall_color if below is None else color
        image = _shaded(c, image, body, below, light)
        image = prisms.draw(c, image, body, color, standing_on, light)
    if extra == "spheres":
        image = _spheres(c, rng, image, lowest, (color, wall_color), light)
        details.append(either(rng, "spheres", "decorative spheres"))
    if rng.random() < 0.3:
        details.append(f"soft light from the {side_of(light)}")
    depth = top.tilt * top.radius
    return Scene(
        image=image,
        kind="podium",
        phrases=(_podium_words(rng, name, behind), *details),
        light=light,
        colors=(("podium", name), ("background", behind)),
        ground=Ground(
            left=top.center_x - 0.12 * top.radius,
            right=top.center_x + 0.12 * top.radius,
            far=top.center_y + 0.05 * depth,
            near=top.center_y + 0.32 * depth,
            gloss=float(rng.uniform(0, 0.15)),
        ),
    )


def _bodies(c: Canvas, rng: np.random.Generator, shape: str) -> list[Prism]:
    """The podium's tiers, lowest first; the top one is wide enough for a product."""
    center_x = c.width * rng.uniform(0.44, 0.56)
    radius = min(rng.uniform(0.25, 0.33) * c.width, 0.36)
    tilt = rng.uniform(0.2, 0.34)
    turn = {"round": 0.0, "square": 0.0, "hexagonal": float(rng.choice((0, 30, 15)))}[shape]
    if shape == "square" and rng.random() < 0.4:
        turn = float(rng.uniform(18, 45) * rng.choice((-1, 1)))
    stepped = rng.random() < 0.28
    height = rng.uniform(0.05, 0.09) if stepped else rng.uniform(0.07, 0.17)
    room_below = height + tilt * radius + (0.12 if stepped else 0.05)
    top_y = min(c.height * rng.uniform(0.63, 0.76), c.height - room_below)
    top = prisms.prism(c, shape, (center_x, top_y), radius, height, tilt, turn)
    if not stepped:
        return [top]
    wider = radius * rng.uniform(1.28, 1.42)
    low = prisms.prism(
        c, shape, (center_x, top_y + height), wider, rng.uniform(0.05, 0.08), tilt, turn
    )
    return [low, top]


def _set(c: Canvas, rng: np.random.Generator, color: Array, light: Light, horizon: float) -> Array:
    wall_light = wall_exposure(c, rng, color, light) * grain(c, rng)
    floor_light = floor_exposure(c, rng, color, light, horizon) * grain(c, rng)
    softness = rng.uniform(0.04, 0.1) if rng.random() < 0.6 else 0.006
    return room(c, (color, wall_light), (color, floor_light), light, horizon, softness)


def _shaded(c: Canvas, image: Array, body: Prism, below: Prism | None, light: Light) -> Array:
    """The body's shadow: on the floor, or on the tier below and nowhere else."""
    strength = 0.42 + 0.2 * light.softness
    darker = prisms.cast_shadow(c, body, light, image, strength)
    if below is None:
        return darker
    tier = below.inside * c.aa(below.back - c.y) * c.aa(c.y - below.front)
    return mix(image, darker, tier)


def _panel(
    c: Canvas,
    rng: np.random.Generator,
    image: Array,
    shape: str,
    body: Prism,
    horizon: float,
    color: Array,
    wall_color: Array,
    light: Light,
) -> Array:
    """An arch or a disc of board that stands behind the podium, and its shadow on the wall."""
    foot = horizon + 0.02
    rise = rng.uniform(1.0, 1.3) if shape == "arch" else 0.92
    radius = min(body.radius * rng.uniform(0.85, 1.1), (foot - 0.03) / (1 + rise))
    center_y = foot - radius * rise
    center_x = body.center_x + float(rng.uniform(-0.08, 0.08))

    def outline(shift_x: float, shift_y: float) -> Array:
        away = np.hypot(c.x - center_x - shift_x, c.y - center_y - shift_y) - np.float32(radius)
        if shape == "arch":
            straight = np.abs(c.x - center_x - shift_x) - np.float32(radius)
            away = np.where(c.y > center_y + shift_y, straight, away)
        return np.maximum(away, c.y - foot - shift_y)

    side = float(np.sign(light.azimuth))
    shadow = smoothstep(0.035, -0.02, outline(-0.045 * side, 0.012))
    image = image * (1 - 0.34 * shadow[..., None])
    tone = (
        color if rng.random() < 0.55 else np.clip(mix(wall_color, np.ones_like(color), 0.3), 0, 1)
    )
    across = (c.x - center_x) / np.float32(radius) * side
    face = 0.82 + 0.12 * across - 0.12 * (c.y - center_y)
    edge_light = 1.25 if rng.random() < 0.5 else 0.55
    image = mix(image, expose(tone, face * edge_light, light), c.aa(outline(0.016 * side, 0)))
    return mix(image, expose(tone, face, light), c.aa(outline(0, 0)))


def _spheres(
    c: Canvas,
    rng: np.random.Generator,
    image: Array,
    body: Prism,
    colors: tuple[Array, Array],
    light: Light,
) -> Array:
    """One to three balls on the floor beside the podium."""
    floor_y = body.center_y + body.height
    sides = [float(rng.choice((-1, 1)))]
    if rng.random() < 0.6:
        sides.append(-sides[0])
    for side in sides:
        radius = rng.uniform(0.035, 0.065)
        x = body.center_x + side * (body.radius + radius * rng.uniform(1.15, 1.6))
        y = floor_y + body.tilt * body.radius * rng.uniform(0.3, 0.8)
        y = min(y, c.height - 0.02)
        color = colors[0] if rng.random() < 0.7 else mix(colors[1], np.ones(3, np.float32), 0.4)
        image = _sphere(c, image, (x, y), radius, color, light)
    return image


def _sphere(
    c: Canvas,
    image: Array,
    foot: tuple[float, float],
    radius: float,
    color: Array,
    light: Light,
) -> Array:
    x, y = foot[0], foot[1] - radius
    side = float(np.sign(light.azimuth))
    u, v = (c.x - x) / np.float32(radius), (c.y - y) / np.float32(radius)
    on_floor = np.hypot(u + 0.55 * side, (v - 0.86) / 0.3)
    image = image * (1 - 0.45 * smoothstep(1.35, 0.3, on_floor)[..., None])
    out = np.minimum(u * u + v * v, 1)
    toward = u * 0.65 * light.azimuth - v * (0.35 + 0.4 * light.elevation)
    lambert = np.clip((toward + np.sqrt(1 - out) * 0.55 + 0.25) / 1.2, 0, 1)
    lit = 0.3 * float(light.ambient.mean()) + 1.0 * lambert + 0.1 * np.clip(v, 0, 1)
    disc = c.aa((np.sqrt(u * u + v * v) - 1) * np.float32(radius))
    return mix(image, expose(color, lit, light), disc)


def _shape_words(rng: np.random.Generator, shape: str, tiers: int) -> str:
    if tiers > 1:
        return either(rng, "two tiers", "stepped podium", "two-tier podium")
    if shape == "square":
        return either(rng, "square podium", "box podium")
    if shape == "round":
        return either(rng, "round podium", "cylinder podium")
    return "hexagonal podium"


def _podium_words(rng: np.random.Generator, name: str, behind: str) -> str:
    first, second = say(rng, name), say(rng, behind)
    stand, place = say(rng, "podium"), say(rng, "background")
    return either(
        rng,
        f"{first} {stand}, {second} {place}",
        f"{first} {stand} on {a_or_an(second)} {place}",
        f"{first} {stand} in {a_or_an(second)} {say(rng, 'studio')}",
        f"{second} {place}, {first} {stand}",
        f"{second} {say(rng, 'studio')} with {a_or_an(first)} {stand}",
    )
