"""Surfaces of drawn products: paints, labels and patterns, and how the scene's light falls on them.

Directions are (x right, y up, z towards the camera). Surface coordinates `s` run from -1 (left) to
1 (right) and `t` from 0 (foot) to 1 (top) over a part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scripts.train_embedded.canvas import Array, mix, smoothstep
from scripts.train_embedded.light import Light
from scripts.train_embedded.palette import named, pick, rgb

# Products are more often black, white or pale than red: the list is drawn from evenly.
_PRODUCT_COLORS = (
    *("white", "white", "white", "black", "black", "beige", "beige", "gray", "brown", "navy"),
    *("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "pink", "mint"),
    *("lavender", "gold", "peach"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Decor:
    """What is printed on a surface.

    Attributes:
        kind: "label", "bands", "dots", "fade" or "checks".
        color: (3,) of the print.
        ink: (3,) of the lines of writing on a label.
        low: t of its lower edge.
        high: t of its upper edge.
        repeats: how often a pattern repeats over the height.
    """

    kind: str
    color: Array
    ink: Array
    low: float = 0.25
    high: float = 0.6
    repeats: float = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Paint:
    """Colour and finish of a part.

    Attributes:
        color: (3,) sRGB in 0..1.
        gloss: 0 matte, 1 lacquer.
        metal: whether it mirrors its surroundings instead of scattering light.
        decor: what is printed on it.
    """

    color: Array
    gloss: float = 0.3
    metal: bool = False
    decor: Decor | None = None

    def plain(self) -> Paint:
        """The same without print."""
        return replace(self, decor=None)

    def tone(self, factor: float) -> Paint:
        """The same, unprinted, lighter or darker."""
        return replace(self, color=np.clip(self.color * np.float32(factor), 0, 1), decor=None)

    def labelled(self, low: float, high: float) -> Paint:
        """The same with its print between those heights."""
        if self.decor is None:
            return self
        return replace(self, decor=replace(self.decor, low=low, high=high))


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The paints of one product and the generator for its proportions.

    Attributes:
        rng: the picture's generator.
        main: the body's.
        accent: caps, lids, handles.
        metal: buckles, rims, necks.
        dark: soles, screens, lenses.
    """

    rng: np.random.Generator
    main: Paint
    accent: Paint
    metal: Paint
    dark: Paint

    def vary(self, low: float, high: float) -> float:
        """A proportion between two bounds."""
        return float(self.rng.uniform(low, high))

    def paint(self, *values: float, gloss: float = 0.3) -> Paint:
        """A paint of a fixed colour (0..255), for things that have one: bread, leaves, wax."""
        return Paint(np.clip(rgb(*values) + self.rng.normal(0, 0.02, 3), 0, 1), gloss)

    def among(self, *colors: tuple[float, float, float], gloss: float = 0.3) -> Paint:
        """A paint of one of some colours."""
        return self.paint(*colors[self.rng.integers(len(colors))], gloss=gloss)


def draw_look(rng: np.random.Generator) -> Look:
    """Colours, finishes and print of one product."""
    main, accent, third = (named(pick(rng, among=_PRODUCT_COLORS), rng, 0.03) for _ in range(3))
    gloss = float(rng.choice((rng.uniform(0, 0.25), rng.uniform(0.4, 1))))
    decor = None
    if rng.random() < 0.72:
        kind = str(rng.choice(("label", "label", "bands", "dots", "fade", "checks")))
        repeats = float(rng.uniform(3, 7))
        decor = Decor(kind, accent if rng.random() < 0.6 else third, main, repeats=repeats)
    silver = rgb(206, 208, 214) if rng.random() < 0.6 else rgb(216, 178, 104)
    return Look(
        rng,
        Paint(main, gloss, metal=bool(rng.random() < 0.12), decor=decor),
        Paint(accent if rng.random() < 0.6 else third, float(rng.uniform(0, 0.8))),
        Paint(silver, 0.9, metal=True),
        Paint(rgb(34, 34, 38), float(rng.uniform(0.2, 0.8))),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Lamp:
    """The scene's light as the shading needs it, in the product's own directions.

    Attributes:
        direction: (3,) unit vector to the light.
        key: (3,) colour where the light falls squarely.
        fill: (3,) colour where it does not fall.
        softness: as in Light.
    """

    direction: Array
    key: Array
    fill: Array
    softness: float


def lamp(light: Light, studio: float, tilt: float) -> Lamp:
    """The light on a product tilted by `tilt` radians.

    Args:
        light: of the scene.
        studio: 0 lit by the scene alone; 1 as cut from a picture taken in a neutral studio, which
            is what the cut-outs of customers are.
        tilt: of the product in the picture plane, counterclockwise.
    """
    bearing, height = light.azimuth * 1.35, 0.15 + light.elevation * 1.15
    across, up = np.sin(bearing) * np.cos(height), np.sin(height)
    # Front fill of at least this much: no seller's product is a silhouette.
    direction = np.array((across, up, max(0.5, np.cos(bearing) * np.cos(height))), np.float32)
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    turned = np.array(
        (
            direction[0] * cos + direction[1] * sin,
            direction[1] * cos - direction[0] * sin,
            direction[2],
        ),
        np.float32,
    )
    return Lamp(
        turned / np.float32(np.linalg.norm(turned)),
        mix(light.color, np.full(3, 1.02, np.float32), studio),
        mix(light.ambient, np.full(3, 0.6, np.float32), studio),
        light.softness,
    )


def shade(
    paint: Paint, s: Array, t: Array, normal: tuple[Array, Array, Array], light: Lamp
) -> Array:
    """(h, w, 3) colours of a surface with those unit normals (components (h, w))."""
    albedo = _printed(paint, s, t)
    nx, ny, nz = normal
    lx, ly, lz = (float(part) for part in light.direction)
    facing = nx * lx + ny * ly + nz * lz
    wrap = 0.12 + 0.4 * light.softness
    lit = np.clip((facing + wrap) / (1 + wrap), 0, 1)
    fill = (0.84 + 0.16 * ny) * (0.8 + 0.2 * nz)
    if paint.metal:
        # Bright panels left and right over a dark floor, as metal shows a studio.
        panel = smoothstep(0.15, 0.6, np.abs(nx + 0.15 * lx)) * smoothstep(1.0, 0.8, np.abs(nx))
        lit = 0.3 * lit + 0.7 * np.clip(0.2 + 0.75 * panel + 0.5 * ny, 0, 1)
    light_color = light.fill * fill[..., None] + (light.key - light.fill) * lit[..., None]
    color = albedo * light_color
    gloss = 0.85 if paint.metal else paint.gloss
    if gloss > 0.02:
        color = color + light.key * _highlight(gloss, normal, light)[..., None]
    rim = (1 - nz) ** 3 * (0.06 + 0.16 * gloss)
    return (color + light.fill * rim[..., None]).astype(np.float32)


def _highlight(gloss: float, normal: tuple[Array, Array, Array], light: Lamp) -> Array:
    """Mirrored light: a spot, and on glossy things the long reflection of a softbox."""
    nx, ny, nz = normal
    half = light.direction + np.array((0, 0, 1), np.float32)
    half = half / np.linalg.norm(half)
    facing = np.clip(nx * half[0] + ny * half[1] + nz * half[2], 0, 1)
    spot = facing ** np.float32(8 + 70 * gloss) * (0.1 + 0.5 * gloss)
    width = 0.09 + 0.12 * light.softness
    side = np.sign(half[0]) * max(abs(half[0]), 0.35)
    streak = np.exp(-(((nx - side) / width) ** 2)) * smoothstep(0.75, 0.2, np.abs(ny))
    return spot + streak * (0.34 * gloss * gloss)


def _printed(paint: Paint, s: Array, t: Array) -> Array:
    """(h, w, 3) colours of the surface before any light."""
    base = np.broadcast_to(paint.color, (*np.broadcast(s, t).shape, 3))
    decor = paint.decor
    if decor is None:
        return base
    within = smoothstep(decor.low - 0.01, decor.low + 0.01, t)
    within = within * smoothstep(decor.high + 0.01, decor.high - 0.01, t)
    phase = t * decor.repeats
    if decor.kind == "label":
        page = within * smoothstep(0.83, 0.8, np.abs(s))
        height = (t - decor.low) / (decor.high - decor.low)
        title = smoothstep(0.1, 0.07, np.abs(height - 0.66)) * smoothstep(0.5, 0.46, np.abs(s))
        line = smoothstep(0.05, 0.03, np.abs(height - 0.38)) * smoothstep(0.36, 0.32, np.abs(s))
        labelled = mix(base, np.broadcast_to(decor.color, base.shape), page)
        return mix(labelled, np.broadcast_to(decor.ink, base.shape), page * (title + line) * 0.85)
    if decor.kind == "bands":
        amount = smoothstep(0.2, 0.26, np.abs(phase % 1 - 0.5))
    elif decor.kind == "dots":
        column = s * 3 + 0.5 * (np.floor(phase) % 2)
        amount = smoothstep(0.34, 0.26, np.hypot(phase % 1 - 0.5, column % 1 - 0.5))
    elif decor.kind == "checks":
        amount = (np.floor(phase) + np.floor(s * 2.5 + 10)) % 2
    else:
        amount = smoothstep(0.1, 0.9, t)
    return mix(base, np.broadcast_to(decor.color, base.shape), amount.astype(np.float32))
