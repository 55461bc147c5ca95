"""Forest: trunks in layers that fade into haze, a canopy above and moss or leaves below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.train_embedded.canvas import (
    Array,
    Canvas,
    ground_plane,
    mix,
    sample,
    smoothstep,
)
from scripts.train_embedded.light import Light, daylight
from scripts.train_embedded.palette import rgb
from scripts.train_embedded.scene import Ground, Scene
from scripts.train_embedded.words import either, say


@dataclass(frozen=True, slots=True, eq=False)
class _Wood:
    """What grows here and how far one sees.

    Attributes:
        haze: (3,) of the air between far trunks.
        bark: (3,) of a near trunk.
        leaf: (3,) of lit foliage.
        shade: (3,) of foliage in shade.
        floor: (3,) of the ground.
        floor_y: y where the ground vanishes in haze, in units.
        side: -1 light from the left, 1 from the right.
    """

    haze: Array
    bark: Array
    leaf: Array
    shade: Array
    floor: Array
    floor_y: float
    side: int


# leaf, shade, floor
_SEASONS: dict[str, tuple[Array, Array, Array]] = {
    "summer": (rgb(132, 172, 62), rgb(36, 66, 30), rgb(84, 112, 46)),
    "spring": (rgb(168, 200, 84), rgb(58, 92, 40), rgb(104, 134, 56)),
    "autumn": (rgb(236, 158, 44), rgb(122, 58, 22), rgb(182, 102, 42)),
}
_HAZE: dict[str, Array] = {
    "day": rgb(214, 228, 196),
    "sunrise": rgb(252, 228, 178),
    "sunset": rgb(252, 196, 128),
}
_LAYERS = 5


def forest(c: Canvas, rng: np.random.Generator) -> Scene:
    """Inside a forest, looking between the trunks."""
    season = str(rng.choice(("summer", "spring", "autumn"), p=(0.5, 0.2, 0.3)))
    time = str(rng.choice(("day", "sunrise", "sunset"), p=(0.6, 0.2, 0.2)))
    misty = rng.random() < 0.3
    birch = rng.random() < 0.2
    light = daylight(rng, time, overcast=misty and time == "day")
    wood = _plant(c, rng, season, time, light, misty=misty, birch=birch)
    image, shafts, path = _draw(c, rng, wood, misty=misty)
    phrases = [_main_phrase(rng, season, birch=birch)]
    phrases += [either(rng, "tree trunks", "tall trees")]
    if misty:
        phrases.append(either(rng, "mist", "fog between the trees"))
    if shafts:
        phrases.append(either(rng, "light shafts", "sun rays"))
    if path:
        phrases.append("path")
    elif season == "autumn":
        phrases.append(either(rng, "fallen leaves", "autumn leaves"))
    else:
        phrases.append(either(rng, "mossy ground", "moss"))
    ground = Ground(
        left=0.25 * c.width,
        right=0.75 * c.width,
        far=wood.floor_y + 0.5 * (c.height - wood.floor_y),
        near=0.96 * c.height,
    )
    return Scene(np.clip(image, 0, 1), "forest", tuple(phrases), light, ground=ground)


def _main_phrase(rng: np.random.Generator, season: str, *, birch: bool) -> str:
    """The forest by its season or its trees."""
    word = say(rng, "forest")
    if season == "autumn":
        return f"autumn {word}"
    if birch:
        return f"birch {word}"
    return either(rng, word, f"green {word}") if season == "summer" else word


def _plant(
    c: Canvas,
    rng: np.random.Generator,
    season: str,
    time: str,
    light: Light,
    *,
    misty: bool,
    birch: bool,
) -> _Wood:
    """Draws the colours and the lie of the ground."""
    leaf, shade, floor = (color * rng.uniform(0.9, 1.1, 3) for color in _SEASONS[season])
    haze = mix(_HAZE[time], rgb(206, 216, 214), 0.75 if misty and time == "day" else 0.0)
    if season == "autumn":
        haze = mix(haze, rgb(250, 222, 168), 0.5)
    bark = rgb(214, 208, 196) if birch else rgb(66, 50, 38) * rng.uniform(0.8, 1.25)
    tint = (0.35 + 0.65 * light.color).astype(np.float32)
    return _Wood(
        haze=haze * np.float32(rng.uniform(0.9, 1.0)),
        bark=(bark * tint).astype(np.float32),
        leaf=(leaf * tint).astype(np.float32),
        shade=(shade * tint).astype(np.float32),
        floor=(floor * tint).astype(np.float32),
        floor_y=float(c.height * rng.uniform(0.56, 0.68)),
        side=1 if light.azimuth > 0 else -1,
    )


def _draw(
    c: Canvas, rng: np.random.Generator, wood: _Wood, *, misty: bool
) -> tuple[Array, bool, bool]:
    """The picture, and whether it shows light shafts and a path."""
    source = (c.width * (0.5 + wood.side * rng.uniform(0.1, 0.4)), c.height * rng.uniform(0.0, 0.3))
    glow = np.exp(-((c.distance(*source) / np.float32(0.5)) ** 2))
    image = mix(c.fill(wood.haze * np.float32(0.8)), c.fill(wood.haze * np.float32(1.08)), glow)
    clumps = c.noise(rng, 5, octaves=4, gain=0.62)
    path = rng.random() < 0.25
    _floor(c, rng, image, wood, clumps, path=path)
    shafts = rng.random() < (0.35 if misty else 0.5)
    near_fade = 0.72 if misty else 0.9
    for layer in range(_LAYERS):
        nearness = layer / (_LAYERS - 1)
        clear = 0.22 + (near_fade - 0.22) * nearness
        _trunks(c, rng, image, wood, nearness, clear, skip_middle=path)
        if layer < 4:
            turned = clumps[:: (-1) ** layer, :: 1 - (layer & 2)]
            _canopy(c, rng, image, wood, turned, clear)
        if layer < 2:
            _undergrowth(c, rng, image, wood, clumps[::-1, :: (-1) ** layer], clear)
        if layer == 2 and shafts:
            image = _add_shafts(c, rng, image, wood, source)
    return image, shafts, path


def _trunks(
    c: Canvas,
    rng: np.random.Generator,
    image: Array,
    wood: _Wood,
    nearness: float,
    clear: float,
    *,
    skip_middle: bool,
) -> None:
    """Paints one layer of trunks in place, each rooted at its distance."""
    count = max(2, round((12 - 9.5 * nearness**0.7) * c.width))
    slots = (np.arange(count) + rng.uniform(0.1, 0.9, count)) / count
    if nearness > 0.6:
        # Near trunks frame the picture: the product stands between them.
        slots = np.where(slots < 0.5, slots * 0.5, 1 - (1 - slots) * 0.5)
    if skip_middle and nearness > 0.2:
        slots = np.where(slots < 0.5, slots * 0.75, 1 - (1 - slots) * 0.75)
    for slot in slots:
        half = (0.0055 + 0.034 * nearness**1.5) * rng.uniform(0.75, 1.3)
        foot = wood.floor_y + (c.height - wood.floor_y) * (
            0.08 + 0.62 * nearness**1.6 + rng.uniform(-0.03, 0.05)
        )
        _trunk(c, rng, image, wood, float(slot * c.width), float(half), float(foot), clear)


def _trunk(
    c: Canvas,
    rng: np.random.Generator,
    image: Array,
    wood: _Wood,
    x: float,
    half: float,
    foot: float,
    clear: float,
) -> None:
    """Paints one trunk and its contact shadow in place."""
    _contact_shadow(c, image, x + 1.2 * half * -wood.side, foot, half, clear)
    lean = rng.normal(0, 0.035)
    bend = rng.normal(0, 0.012)
    reach = 1.6 * half + abs(lean) * foot + abs(bend) + 0.003
    where = c.window(x - reach, 0, x + reach, foot + half)
    along = foot - c.y[where]
    centre = x + lean * along + bend * np.sin(along * 5)
    flare = 1 + 0.55 * np.exp(-np.maximum(along, 0) / (1.3 * half))
    width = half * flare * (1 - 0.22 * along / c.height)
    across = (c.x[where] - centre) / width
    mask = np.clip((1 - np.abs(across)) * width * c.unit_px + 0.5, 0, 1)
    # The foot is round, as a cylinder's that is seen from above.
    sole = foot + 0.3 * half * np.sqrt(np.clip(1 - across**2, 0, 1))
    mask = mask * np.clip((sole - c.y[where]) * c.unit_px + 0.5, 0, 1)
    lit = 0.62 + 0.5 * np.clip(across * wood.side, -1, 1) + 0.12 * across**2
    bark = wood.bark * lit[..., None]
    if half > 0.012:
        grooves = np.sin(across * 7 + 3 * np.sin(along * 23 + x * 40) + 2 * np.sin(along * 11))
        bark = bark * (1 + 0.09 * grooves[..., None])
    if wood.bark.mean() > 0.55:
        bark = bark * (1 - 0.75 * _birch_scars(rng, along, across, half)[..., None])
    color = mix(np.broadcast_to(wood.haze, bark.shape), bark.astype(np.float32), clear)
    image[where] = mix(image[where], color, mask.astype(np.float32))


def _birch_scars(rng: np.random.Generator, along: Array, across: Array, half: float) -> Array:
    """Dark dashes of birch bark."""
    period = np.float32(0.055 + 1.1 * half)
    turn = along / period + rng.random()
    row = np.floor(turn).astype(np.int32)
    shift = ((row * 73) % 17) / np.float32(8.5) - 1
    band = smoothstep(0.2, 0.05, np.abs(turn - row - 0.5))
    return band * smoothstep(0.75, 0.3, np.abs(across - shift))


def _contact_shadow(c: Canvas, image: Array, x: float, y: float, half: float, clear: float) -> None:
    """Darkens the ground around a trunk's foot in place."""
    where = c.window(x - 5 * half, y - 1.5 * half, x + 5 * half, y + 1.5 * half)
    distance = np.hypot((c.x[where] - x) / (2.4 * half), (c.y[where] - y) / (0.7 * half))
    image[where] *= (1 - 0.5 * clear * np.exp(-(distance**2)))[..., None]


def _canopy(
    c: Canvas, rng: np.random.Generator, image: Array, wood: _Wood, clumps: Array, clear: float
) -> None:
    """Paints foliage of one layer in place: from the top, brighter towards the light."""
    bottom = c.height * rng.uniform(0.12, 0.3)
    rows = c.window(0, 0, c.width, 1.3 * bottom + 0.28)
    aside = c.x[rows] / c.width * 2 - 1
    clumps, lights = clumps[rows], clumps[:, ::-1][rows]
    density = clumps * 0.55 + (bottom * (0.6 + 0.7 * np.abs(aside)) - c.y[rows]) * 6.0
    mask = smoothstep(-0.25, 0.45, density) * np.float32(0.92)
    lit = np.clip(0.47 + 0.35 * lights + 0.25 * wood.side * aside, 0, 1)
    dark, bright = mix(wood.haze, wood.shade, clear), mix(wood.haze, wood.leaf, clear)
    image[rows] = mix(image[rows], dark + (bright - dark) * lit[..., None], mask)


def _undergrowth(
    c: Canvas, rng: np.random.Generator, image: Array, wood: _Wood, clumps: Array, clear: float
) -> None:
    """Paints in place a band of far shrubs that hides where the ground vanishes."""
    rows = c.window(0, wood.floor_y - 0.3, c.width, wood.floor_y + 0.06)
    clumps = clumps[rows]
    top = wood.floor_y - 0.045 * (1 + c.line_noise(rng, 4, octaves=3)) + 0.02 * clumps
    mask = smoothstep(-0.006, 0.012, c.y[rows] - top) * np.float32(0.85)
    mask = mask * smoothstep(0.055, 0.01, c.y[rows] - wood.floor_y)
    lit = np.clip(0.45 + 0.25 * clumps, 0, 1)
    dark, bright = mix(wood.haze, wood.shade, clear + 0.1), mix(wood.haze, wood.leaf, clear + 0.1)
    image[rows] = mix(image[rows], dark + (bright - dark) * lit[..., None], mask)


def _floor(
    c: Canvas, rng: np.random.Generator, image: Array, wood: _Wood, clumps: Array, *, path: bool
) -> None:
    """Paints mossy or leafy ground in place, dappled by light and fading into haze."""
    rows = c.window(0, wood.floor_y - 0.02, c.width, c.height)
    across, away = (plane[rows] for plane in ground_plane(c, wood.floor_y))
    depth = np.log(away + 0.5)
    moss = sample(clumps, across * 0.22 + 0.5, depth * 0.42 + 0.2)
    dapple = sample(clumps, across * 0.14 + 0.1, depth * 0.3 + 0.55)
    tone = 0.72 + 0.16 * moss + 0.42 * smoothstep(0.2, 1.1, dapple)
    soil = wood.floor * tone[..., None]
    if path:
        middle = rng.normal(0, 0.12) + rng.uniform(-0.5, 0.5) * np.sin(depth * 1.4)
        edge = np.abs(across - middle) + 0.05 * moss
        trodden = mix(rgb(176, 148, 112), wood.haze, 0.15) * tone[..., None]
        soil = mix(soil.astype(np.float32), trodden, smoothstep(0.36, 0.2, edge))
    near = smoothstep(wood.floor_y - 0.02, c.height, c.y[rows])
    hazy = mix(c.fill(wood.haze)[rows], soil.astype(np.float32), 0.3 + 0.7 * near**0.6)
    below = smoothstep(-0.02, 0.01, c.y[rows] - wood.floor_y)
    image[rows] = mix(image[rows], hazy, below)


def _add_shafts(
    c: Canvas, rng: np.random.Generator, image: Array, wood: _Wood, source: tuple[float, float]
) -> Array:
    """Beams that fan out from the sun above the canopy."""
    x, y = source[0] + 0.25 * wood.side, -0.25
    angle = np.arctan2(c.x - np.float32(x), c.y - np.float32(y))
    knots = np.linspace(-1.6, 1.6, 68)
    beams = np.interp(angle, knots, rng.standard_normal(knots.size)).astype(np.float32)
    reach = np.exp(-c.distance(x, y) * 0.9) * smoothstep(c.height, 0.55 * c.height, c.y)
    amount = smoothstep(0.1, 1.4, beams) * reach * np.float32(rng.uniform(0.8, 1.2))
    warm = np.clip(wood.haze * 1.15, 0, 1)
    return mix(image, c.fill(warm.astype(np.float32)), np.clip(amount, 0, 0.7))
