"""Studios: coloured paper backdrops, and dark ones with a pool of light."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded import gobos
from scripts.train_embedded.canvas import Array, Canvas, mix, smoothstep
from scripts.train_embedded.light import Light, indoor
from scripts.train_embedded.palette import named, pick
from scripts.train_embedded.paper import (
    contrasting,
    floor_exposure,
    glow_exposure,
    grain,
    luminance,
    room,
    side_of,
    wall_exposure,
)
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.words import a_or_an, either, say

_SPOT_COLORS = (
    "red", "orange", "yellow", "green", "teal", "blue", "navy", "purple", "pink", "beige",
    "gray", "black", "brown", "mint", "lavender", "gold", "peach",
)  # fmt: skip


def studio(c: Canvas, rng: np.random.Generator) -> Scene:
    """Coloured paper: a seamless sweep, or a wall and a floor of one or two colours."""
    light = indoor(rng)
    set_up = rng.choice(("sweep", "corner", "two colors", "glossy"), p=(0.36, 0.16, 0.32, 0.16))
    if set_up == "two colors":
        wall_name, floor_name = contrasting(rng, 0.5)
    else:
        wall_name = floor_name = pick(rng)
    wall_color, floor_color = named(wall_name, rng), named(floor_name, rng)
    if wall_name == floor_name:
        floor_color = wall_color
    horizon = c.height * rng.uniform(0.56, 0.76)
    softness = rng.uniform(0.06, 0.13) if set_up == "sweep" else rng.uniform(0.003, 0.009)
    if set_up == "glossy":
        wall_light = glow_exposure(c, rng, wall_color, horizon)
    else:
        wall_light = wall_exposure(c, rng, wall_color, light) * grain(c, rng)
    floor_light = floor_exposure(c, rng, floor_color, light, horizon) * grain(c, rng)
    if set_up == "glossy":
        floor_light = 0.6 * floor_light
    details = [_sweep_words(rng, set_up, light)]
    if rng.random() < 0.3:
        passed, words = gobos.thrown(c, rng, light, horizon)
        shade = mix(np.float32(rng.uniform(0.5, 0.62)), np.float32(1.08), passed)
        wall_light = wall_light * shade
        if set_up != "glossy":
            floor_light = floor_light * shade
        details.append(words)
    image = room(c, (wall_color, wall_light), (floor_color, floor_light), light, horizon, softness)
    gloss, roughness = float(rng.uniform(0, 0.08)), 0.6
    if set_up == "glossy":
        gloss, roughness = float(rng.uniform(0.5, 0.75)), float(rng.uniform(0.05, 0.2))
        image = _acrylic(c, image, horizon, gloss)
    return Scene(
        image=image,
        kind="studio",
        phrases=(_studio_words(rng, wall_name, floor_name), *details),
        light=light,
        colors=_studio_colors(wall_name, floor_name),
        ground=Ground(
            left=0.2 * c.width,
            right=0.8 * c.width,
            far=horizon + 0.25 * (c.height - horizon),
            near=c.height - 0.05,
            gloss=gloss,
            roughness=roughness,
        ),
    )


def spotlight(c: Canvas, rng: np.random.Generator) -> Scene:
    """A dark studio and a round pool of light on its wall, its floor or both."""
    name = pick(rng, among=_SPOT_COLORS)
    # So strong a light would make a slight tint of black a colour.
    color = named(name, rng, 0.004 if name in ("black", "gray") else 0.02)
    horizon = c.height * rng.uniform(0.62, 0.74)
    where = rng.choice(("wall", "floor", "both"), p=(0.4, 0.3, 0.3))
    centre_x = c.width * rng.uniform(0.36, 0.64)
    lamp_x = centre_x + rng.uniform(-0.35, 0.35)
    light = _lamp(rng, (lamp_x - centre_x) / 0.45)
    # A dark colour shows only where much light falls on it.
    power = (
        rng.uniform(1.1, 1.35)
        + 1.2 * max(0.0, 0.45 - luminance(color))
        + 70.0 * max(0.0, 0.2 - luminance(color))
    )
    dark = rng.uniform(0.05, 0.1)
    wall_light = dark * grain(c, rng, 0.03) * (1 - 0.35 * (c.y / c.height - 0.5))
    floor_light = dark * rng.uniform(0.8, 1.3) * grain(c, rng, 0.03)
    details = []
    if where != "floor":
        pool = _wall_pool(c, rng, centre_x, horizon)
        wall_light = wall_light + power * pool
        spill = np.exp(-(((c.y - horizon) / 0.14) ** 2) - ((c.x - centre_x) / 0.34) ** 2)
        floor_light = floor_light + 0.3 * power * spill
        details.append(either(rng, "round light on the wall", "circle of light on the wall"))
    spot_y, spot_radius = _floor_spot(c, rng, horizon)
    if where != "wall":
        floor_light = floor_light + power * _floor_pool(c, centre_x, spot_y, spot_radius)
        details.append(either(rng, "pool of light on the floor", "light circle on the floor"))
    image = room(c, (color, wall_light), (color, floor_light), light, horizon, 0.012)
    if where == "floor":
        image = _add_cone(c, rng, image, color, (lamp_x, centre_x), spot_y, spot_radius)
        details.append(either(rng, "light beam from above", "visible light cone"))
    spoken = say(rng, name)
    main = either(
        rng,
        f"{spoken} spotlight {say(rng, 'background')}",
        f"spotlight on {a_or_an(spoken)} {say(rng, 'background')}",
        f"dark {spoken} {say(rng, 'studio')} with a spotlight",
        f"{spoken} wall with a spotlight",
    )
    return Scene(
        image=image,
        kind="spotlight",
        phrases=(main, *details),
        light=light,
        colors=(("background", name),),
        ground=Ground(
            left=centre_x - 0.08,
            right=centre_x + 0.08,
            far=spot_y - 0.02,
            near=spot_y + 0.05,
            gloss=float(rng.uniform(0, 0.15)),
        ),
    )


def _sweep_words(rng: np.random.Generator, set_up: str, light: Light) -> str:
    if set_up == "glossy":
        return either(rng, "glossy floor", "glossy acrylic floor", "reflective floor")
    side = side_of(light)
    if set_up == "sweep" and rng.random() < 0.6:
        return either(rng, "seamless paper", "seamless backdrop", "smooth paper sweep")
    return either(rng, f"soft light from the {side}", f"light from the {side}")


def _studio_words(rng: np.random.Generator, wall: str, floor: str) -> str:
    place, behind = say(rng, "studio"), say(rng, "background")
    if wall == floor:
        spoken = say(rng, wall)
        return either(
            rng,
            f"{spoken} {place} {behind}",
            f"{spoken} {place}",
            f"plain {spoken} {place} {behind}",
            f"{spoken} paper {behind} in a {place}",
        )
    first, second = say(rng, wall), say(rng, floor)
    return either(
        rng,
        f"{place} with {first} wall and {second} floor",
        f"{first} wall and {second} floor {place}",
        f"{place} {behind}, {first} wall, {second} floor",
    )


def _studio_colors(wall: str, floor: str) -> tuple[tuple[str, str], ...]:
    if wall == floor:
        return (("background", wall),)
    return (("wall", wall), ("floor", floor))


def _acrylic(c: Canvas, image: Array, horizon: float, gloss: float) -> Array:
    """The floor as polished acrylic: it mirrors the wall, more so at the flat angle far away."""
    edge = int(horizon * c.unit_px)
    depth = c.height_px - edge
    mirrored = image[max(0, edge - depth) : edge][::-1]
    reflected = image.copy()
    reflected[edge : edge + len(mirrored)] = mirrored
    reflected = c.blur(reflected, 0.006)
    near = np.clip((c.y - horizon) / (c.height - horizon), 0, 1)
    amount = gloss * (1.15 - 0.55 * near) * smoothstep(horizon, horizon + 0.004, c.y)
    sheen = 0.07 * smoothstep(0.5, 0.0, near) * smoothstep(horizon, horizon + 0.01, c.y)
    return np.clip(mix(image, reflected, amount) + sheen[..., None], 0, 1)


def _lamp(rng: np.random.Generator, azimuth: float) -> Light:
    """A bare lamp from above; hardly any light comes back from the dark room."""
    plain = indoor(rng)
    return Light(
        azimuth=float(np.clip(azimuth, -1, 1)),
        elevation=float(rng.uniform(0.65, 0.9)),
        color=plain.color,
        ambient=(plain.color * np.float32(0.3)).astype(np.float32),
        softness=float(rng.uniform(0.15, 0.4)),
    )


def _wall_pool(c: Canvas, rng: np.random.Generator, centre_x: float, horizon: float) -> Array:
    radius = rng.uniform(0.27, 0.36) * min(1.0, c.width + 0.1, c.height + 0.15)
    centre_y = horizon * rng.uniform(0.42, 0.62)
    oval = rng.uniform(0.88, 1.2)
    distance = np.hypot(c.x - centre_x, (c.y - centre_y) * oval) / np.float32(radius)
    edge = rng.uniform(0.1, 0.3)
    disc = smoothstep(1 + edge, 1 - edge, distance) * (1 - 0.5 * np.minimum(distance, 1) ** 2)
    return disc + 0.08 * np.exp(-((distance / 1.7) ** 2))


def _floor_spot(c: Canvas, rng: np.random.Generator, horizon: float) -> tuple[float, float]:
    """Middle height of it and its radius across."""
    radius = rng.uniform(0.27, 0.36) * min(1.0, c.width)
    return horizon + rng.uniform(0.42, 0.58) * (c.height - horizon), radius


def _floor_pool(c: Canvas, centre_x: float, centre_y: float, radius: float) -> Array:
    distance = np.hypot(c.x - centre_x, (c.y - centre_y) / 0.3) / np.float32(radius)
    disc = smoothstep(1.14, 0.84, distance) * (1 - 0.45 * np.minimum(distance, 1) ** 2)
    return disc + 0.1 * np.exp(-((distance / 1.8) ** 2))


def _add_cone(
    c: Canvas,
    rng: np.random.Generator,
    image: Array,
    color: Array,
    lamp_and_spot: tuple[float, float],
    spot_y: float,
    radius: float,
) -> Array:
    """Haze lit by the beam, from above the picture down to the spot on the floor."""
    lamp_x, spot_x = lamp_and_spot
    lamp_y = -rng.uniform(0.05, 0.2)
    fall = np.clip((c.y - lamp_y) / (spot_y - lamp_y), 0, 1)
    axis = lamp_x + (spot_x - lamp_x) * fall
    aside = np.abs(c.x - axis) / (radius * fall + 0.01)
    beam = smoothstep(1.08, 0.72, aside) * (1.0 - 0.62 * fall)
    beam = beam * smoothstep(spot_y + 0.02, spot_y - 0.06, c.y)
    haze = mix(color, np.ones(3, np.float32), 0.4) * np.float32(rng.uniform(0.34, 0.5))
    return (1 - (1 - image) * (1 - beam[..., None] * haze)).astype(np.float32)
