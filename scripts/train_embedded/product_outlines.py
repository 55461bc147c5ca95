"""Outlines, and the products to wear or carry that are known by them."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.product_easel import Part, View
from scripts.train_embedded.product_parts import Ball, Cutout, Rod
from scripts.train_embedded.product_shading import Look, Paint
from scripts.train_embedded.product_turned import Turned

Outline = tuple[tuple[float, float], ...]


def mirrored(right: Outline) -> Outline:
    """An outline from its right half, listed from the lower middle to the upper middle."""
    return (*right, *((-u, v) for u, v in reversed(right) if u != 0))


def facing(side: float, outline: Outline) -> Outline:
    """The outline, pointing right (1) or left (-1)."""
    return tuple((side * u, v) for u, v in outline)


def side_of(look: Look) -> float:
    """-1 or 1: which way a thing points."""
    return float(look.rng.choice((-1, 1)))


def sneaker(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A sports shoe from the side."""
    side = side_of(look)
    upper = ((-0.92, 0.2), (-0.95, 0.6), (-0.86, 0.98), (-0.6, 0.86), (-0.3, 0.94), (-0.1, 0.8),
             (0.3, 0.54), (0.75, 0.44), (0.98, 0.3), (0.96, 0.16), (0.0, 0.14))  # fmt: skip
    sole = ((-0.97, 0.02), (-0.98, 0.22), (-0.3, 0.18), (0.4, 0.2), (1.02, 0.24), (1.04, 0.08),
            (0.85, 0.0), (-0.85, 0.0))  # fmt: skip
    toe = ((0.62, 0.2), (0.66, 0.42), (0.88, 0.38), (1.0, 0.24), (0.9, 0.18))
    stripe = ((-0.3, 0.24), (-0.1, 0.26), (0.1, 0.62), (-0.06, 0.7))
    white = look.among((244, 243, 238), (236, 222, 196), (40, 40, 44), gloss=0.1)
    laces = [
        Rod(((side * x, y, 0), (side * (x + 0.17), y + 0.1, 0)), 0.022, white)
        for x, y in ((-0.12, 0.66), (0.02, 0.57), (0.16, 0.49))
    ]
    return [
        Cutout(facing(side, upper), look.main.plain(), 0.5),
        Cutout(facing(side, toe), look.accent, 0.4),
        Cutout(facing(side, stripe), look.accent, 0.2),
        *laces,
        Cutout(facing(side, sole), white, 0.3),
    ]


def boot(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """An ankle boot or a high one."""
    side, shaft = side_of(look), look.vary(0.8, 1.2)
    leather = ((-0.36, 0.06), (-0.4, 0.4), (-0.36, shaft), (0.08, shaft + 0.02), (0.1, 0.5),
               (0.3, 0.36), (0.56, 0.24), (0.6, 0.08), (0.1, 0.05))  # fmt: skip
    sole = ((-0.42, 0.0), (-0.42, 0.1), (0.0, 0.08), (0.66, 0.1), (0.66, 0.03), (-0.05, 0.03),
            (-0.08, 0.0))  # fmt: skip
    return [
        Cutout(facing(side, leather), Paint(look.main.color, 0.5), 0.6),
        Cutout(facing(side, sole), look.dark, 0.2, smooth=False),
    ]


def high_heel(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A pump with a stiletto heel."""
    side = side_of(look)
    shoe = ((-0.72, 0.7), (-0.78, 0.98), (-0.66, 0.92), (-0.4, 0.62), (0.1, 0.3), (0.4, 0.34),
            (0.6, 0.24), (0.98, 0.06), (0.9, 0.0), (0.5, 0.0), (0.1, 0.12), (-0.4, 0.5))  # fmt: skip
    heel = ((-0.78, 0.86), (-0.5, 0.56), (-0.64, 0.36), (-0.68, 0.0), (-0.74, 0.0), (-0.76, 0.4))
    leather = Paint(look.main.color, 0.9)
    return [Cutout(facing(side, heel), leather, 0.5), Cutout(facing(side, shoe), leather, 0.5)]


def hat(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A hat with a brim and a ribbon."""
    felt = Paint(look.main.color, 0.05)
    crown = ((0.06, 0.5), (0.3, 0.5), (0.8, 0.42), (0.95, 0.3), (1.0, 0.1))
    return [
        Turned(((0, 0.94), (0.04, 1.0), (0.06, 0.99)), felt),
        Turned(crown, felt),
        Turned(((0.06, 0.505), (0.26, 0.505)), Paint(look.accent.color, 0.2)),
    ]


def cap(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A baseball cap from the side."""
    side = side_of(look)
    dome = ((-0.62, 0.12), (-0.6, 0.6), (-0.3, 0.93), (0.05, 0.98), (0.4, 0.78), (0.56, 0.22),
            (0.1, 0.12))  # fmt: skip
    peak = ((0.0, 0.12), (0.35, 0.28), (0.6, 0.26), (1.12, 0.06), (1.1, 0.0), (0.6, 0.06))
    return [
        Cutout(facing(side, dome), Paint(look.main.color, 0.05), 0.8),
        Cutout(facing(side, peak), Paint(look.accent.color, 0.05), 0.3),
        Ball((side * 0.03, 0.97, 0), (0.05, 0.035), look.accent),
    ]


def shirt(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A T-shirt laid out."""
    right = ((0, 0), (0.42, 0.0), (0.42, 0.56), (0.56, 0.46), (0.74, 0.62), (0.5, 0.94), (0.17, 1.0),
             (0.1, 0.93), (0, 0.9))  # fmt: skip
    collar = ((-0.17, 0.99, 0), (-0.08, 0.92, 0), (0, 0.9, 0), (0.08, 0.92, 0), (0.17, 0.99, 0))
    cloth = Paint(look.main.color, 0.0, decor=look.main.decor)
    return [
        Cutout(mirrored(right), cloth.labelled(0.5, 0.75), 0.2, smooth=False),
        Rod(collar, 0.02, look.accent),
    ]


def handbag(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A bag with an arched handle."""
    right = ((0, 0), (0.5, 0.0), (0.58, 0.06), (0.52, 0.36), (0.42, 0.6), (0.2, 0.63), (0, 0.63))
    flap = ((0, 0.3), (0.24, 0.34), (0.44, 0.46), (0.42, 0.61), (0, 0.64))
    leather = Paint(look.main.color, 0.45)
    strap = ((-0.34, 0.56, 0), (-0.26, 0.88, 0), (0, 0.98, 0), (0.26, 0.88, 0), (0.34, 0.56, 0))
    return [
        Rod(strap, 0.028, look.accent if look.rng.random() < 0.5 else leather),
        Cutout(mirrored(right), leather, 0.5),
        Cutout(mirrored(flap), leather.tone(0.9), 0.3),
        Ball((0, 0.35, 0), (0.05, 0.04), look.metal),
    ]


def tote(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A cloth shopper with two long handles."""
    right = ((0, 0), (0.36, 0.0), (0.4, 0.03), (0.43, 0.58), (0, 0.6))
    paint = Paint(look.main.color, 0.0, decor=look.main.decor)
    handles = [
        Rod(((-0.2, 0.54, 0), (-0.17, 0.86, 0), (0, top, 0), (0.17, 0.86, 0), (0.2, 0.54, 0)), 0.024,
            paint.tone(tone))
        for top, tone in ((0.95, 0.75), (0.99, 1.0))
    ]  # fmt: skip
    body = Cutout(mirrored(right), paint.labelled(0.2, 0.7), 0.25, smooth=False)
    return [handles[0], body, handles[1]]


def backpack(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A backpack from the front."""
    right = ((0, 0), (0.3, 0.0), (0.38, 0.08), (0.38, 0.5), (0.34, 0.82), (0.18, 0.93), (0, 0.94))
    pocket = ((0, 0.06), (0.24, 0.07), (0.27, 0.14), (0.26, 0.38), (0, 0.42))
    cloth = Paint(look.main.color, 0.1)
    loop = ((-0.1, 0.9, 0), (-0.07, 0.98, 0), (0.07, 0.98, 0), (0.1, 0.9, 0))
    zip_path = ((-0.3, 0.56, 0), (-0.22, 0.78, 0), (0, 0.84, 0), (0.22, 0.78, 0), (0.3, 0.56, 0))
    sides = [
        Rod(((s * 0.36, 0.7, 0), (s * 0.47, 0.45, 0), (s * 0.38, 0.14, 0)), 0.03, look.accent)
        for s in (-1, 1)
    ]
    return [
        *sides,
        Rod(loop, 0.022, look.accent),
        Cutout(mirrored(right), cloth, 0.6),
        Rod(zip_path, 0.01, look.dark),
        Cutout(mirrored(pocket), look.accent, 0.4),
    ]


def glasses(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """Spectacles; sunglasses have dark lenses, others are seen through."""
    frame = look.dark if look.rng.random() < 0.5 else look.main.plain()
    dark = look.rng.random() < 0.5
    wide, tall = look.vary(0.5, 0.62), look.vary(0.42, 0.5)
    lens = look.among((36, 34, 40), (70, 50, 36), (40, 60, 90), gloss=1.0)
    parts: list[Part] = [
        Rod(((s * 1.2, 0.62, 0), (s * 1.28, 0.8, 0), (s * 1.1, 0.96, 0)), 0.04, frame)
        for s in (-1, 1)
    ]
    for s in (-1, 1):
        if dark:
            parts.append(Ball((s * 0.66, 0.5, 0), (wide, tall), lens, flat=0.6))
        angles = np.linspace(0, 2 * np.pi, 11)[:-1]
        ring = [(s * 0.66 + wide * np.cos(a), 0.5 + tall * np.sin(a), 0.0) for a in angles.tolist()]
        parts.append(Rod((*ring, ring[0]), 0.05, frame))
    return [*parts, Rod(((-0.16, 0.6, 0), (0, 0.68, 0), (0.16, 0.6, 0)), 0.04, frame)]


def watch(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A wrist watch, strap up and down."""
    strap = look.main.plain() if look.rng.random() < 0.7 else look.metal
    up = ((-0.14, 0.5), (-0.13, 0.86), (-0.09, 1.0), (0.09, 1.0), (0.13, 0.86), (0.14, 0.5))
    down = tuple((u, 1 - v) for u, v in up)
    dial = look.among((248, 246, 240), (30, 32, 40), (40, 70, 120))
    hands = [
        Rod(((0, 0.5, 0), (np.sin(a) * reach, 0.5 + np.cos(a) * reach, 0)), 0.01, look.metal)
        for a, reach in ((look.vary(0, 6.28), 0.09), (look.vary(0, 6.28), 0.14))
    ]
    return [
        Cutout(up, strap, 0.3, smooth=False),
        Cutout(down, strap, 0.3, smooth=False),
        Ball((0.235, 0.5, 0), (0.03, 0.03), look.metal),
        Ball((0, 0.5, 0), (0.23, 0.23), look.metal, flat=0.3),
        Ball((0, 0.5, 0), (0.185, 0.185), dial, flat=0.95),
        *hands,
    ]


def ring(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A ring with a stone."""
    angles = np.linspace(0, 2 * np.pi, 13)[:-1]
    band = [(0.36 * np.cos(a), 0.38 + 0.34 * np.sin(a), 0.0) for a in angles.tolist()]
    stone = ((-0.17, 0.86), (-0.11, 0.98), (0.11, 0.98), (0.17, 0.86), (0, 0.68))
    gem = look.among((226, 238, 246), (170, 30, 60), (40, 90, 190), (40, 150, 100), gloss=1.0)
    return [
        Rod((*band, band[0]), 0.045, look.metal),
        Cutout(stone, gem, 0.5, smooth=False),
    ]


def necklace_bust(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A jeweller's bust with a necklace."""
    right = ((0, 0), (0.3, 0.0), (0.34, 0.06), (0.46, 0.44), (0.36, 0.6), (0.14, 0.68), (0.11, 0.96),
             (0, 1.0))  # fmt: skip
    stand = look.among((30, 30, 34), (244, 242, 238), (226, 206, 180), gloss=0.05)
    chain = ((-0.14, 0.72, 0), (-0.18, 0.55, 0), (0, 0.34, 0), (0.18, 0.55, 0), (0.14, 0.72, 0))
    pendant = Ball((0, 0.31, 0), (0.05, 0.06), Paint(look.accent.color, 1.0))
    return [Cutout(mirrored(right), stand, 0.7), Rod(chain, 0.013, look.metal), pendant]


def headphones(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """Headphones standing on their cups."""
    arc = ((-0.4, 0.3, 0), (-0.42, 0.65, 0), (-0.25, 0.9, 0), (0, 0.97, 0), (0.25, 0.9, 0),
           (0.42, 0.65, 0), (0.4, 0.3, 0))  # fmt: skip
    parts: list[Part] = [Rod(arc, 0.032, look.main.plain())]
    for s in (-1, 1):
        parts.append(Ball((s * 0.33, 0.26, 0), (0.09, 0.22), look.dark, angle=s * 0.1))
        parts.append(Ball((s * 0.42, 0.25, 0), (0.1, 0.25), look.main.plain(), angle=s * 0.1))
    return parts


def computer_mouse(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A mouse from the side and above."""
    side = side_of(look)
    shell = (
        (-0.9, 0.05),
        (-0.85, 0.5),
        (-0.3, 0.92),
        (0.3, 0.8),
        (0.8, 0.4),
        (0.92, 0.1),
        (0, 0.0),
    )
    seam = ((-0.1, 0.9, 0), (0.3, 0.66, 0), (0.84, 0.3, 0))
    return [
        Cutout(facing(side, shell), look.main.plain(), 0.9),
        Rod(tuple((side * x, y, z) for x, y, z in seam), 0.014, look.dark),
        Ball((side * 0.46, 0.62, 0), (0.13, 0.06), look.dark, angle=-side * 0.6),
    ]


WEAR = {
    "sneaker": sneaker,
    "boot": boot,
    "high heel": high_heel,
    "hat": hat,
    "cap": cap,
    "T-shirt": shirt,
    "handbag": handbag,
    "tote bag": tote,
    "backpack": backpack,
    "glasses": glasses,
    "watch": watch,
    "ring": ring,
    "necklace bust": necklace_bust,
    "headphones": headphones,
    "computer mouse": computer_mouse,
}
