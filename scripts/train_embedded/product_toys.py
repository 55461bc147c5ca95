"""Toys, fruit, food and other things known by their outline."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.product_easel import Part, View
from scripts.train_embedded.product_outlines import facing, mirrored, side_of
from scripts.train_embedded.product_parts import Ball, Cutout, Rod
from scripts.train_embedded.product_shading import Look, Paint
from scripts.train_embedded.product_turned import Turned


def toy_car(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A little car."""
    side = side_of(look)
    body = ((-1.0, 0.2), (-1.0, 0.5), (-0.7, 0.58), (-0.45, 0.95), (0.2, 0.96), (0.5, 0.6), (0.95, 0.5),
            (1.02, 0.2))  # fmt: skip
    window = ((-0.5, 0.6), (-0.38, 0.86), (-0.1, 0.86), (-0.1, 0.6))
    other = ((-0.02, 0.6), (-0.02, 0.86), (0.16, 0.86), (0.34, 0.6))
    glass = look.paint(150, 184, 204, gloss=0.9)
    parts: list[Part] = [Cutout(facing(side, body), Paint(look.main.color, 0.8), 0.4, smooth=False)]
    parts += [Cutout(facing(side, pane), glass, 0.2, smooth=False) for pane in (window, other)]
    for x in (-0.58, 0.58):
        parts.append(Ball((side * x, 0.21, 0), (0.22, 0.22), look.dark, flat=0.5))
        parts.append(Ball((side * x, 0.21, 0), (0.11, 0.11), look.metal, flat=0.3))
    return [*parts, Ball((side * 0.96, 0.4, 0), (0.05, 0.07), look.paint(250, 236, 170))]


def ball(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A ball."""
    return [Ball((0, 0.5, 0), (0.5, 0.5), look.main, angle=look.vary(-0.6, 0.6))]


def teddy(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A sitting bear."""
    fur = look.among((168, 112, 66), (206, 164, 118), (240, 232, 220), (110, 74, 52), gloss=0.0)
    pale, dark = fur.tone(1.25), look.paint(36, 28, 26, gloss=0.9)
    pairs: list[Part] = []
    for s in (-1, 1):
        pairs.append(Ball((s * 0.2, 0.92, 0), (0.085, 0.085), fur))
        pairs.append(Ball((s * 0.31, 0.4, 0), (0.09, 0.19), fur, angle=s * 0.5))
    feet: list[Part] = []
    for s in (-1, 1):
        feet.append(Ball((s * 0.25, 0.12, 0), (0.14, 0.12), fur))
        feet.append(Ball((s * 0.27, 0.12, 0), (0.08, 0.075), pale))
    eyes = [Ball((s * 0.085, 0.77, 0), (0.024, 0.024), dark) for s in (-1, 1)]
    return [
        *pairs,
        Ball((0, 0.32, 0), (0.29, 0.31), fur),
        Ball((0, 0.3, 0), (0.17, 0.19), pale),
        Ball((0, 0.74, 0), (0.24, 0.22), fur),
        Ball((0, 0.67, 0), (0.1, 0.08), pale),
        Ball((0, 0.7, 0), (0.035, 0.025), dark),
        *eyes,
        *feet,
    ]


def figure(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A toy figure with its arms raised or down."""
    skin = look.among((240, 200, 160), (170, 116, 80), (242, 208, 66))
    lift = look.vary(-0.2, 0.3)
    arms = [
        Rod(((s * 0.12, 0.62, 0), (s * 0.24, 0.55 + lift * 0.3, 0), (s * 0.3, 0.45 + lift, 0)), 0.05,
            look.main.plain(), 0.04)
        for s in (-1, 1)
    ]  # fmt: skip
    legs = [Rod(((s * 0.07, 0.36, 0), (s * 0.1, 0.05, 0)), 0.065, look.accent) for s in (-1, 1)]
    shoes = [Ball((s * 0.13, 0.04, 0), (0.09, 0.04), look.dark) for s in (-1, 1)]
    body = ((-0.14, 0.34), (-0.16, 0.64), (-0.08, 0.69), (0.08, 0.69), (0.16, 0.64), (0.14, 0.34))
    return [
        *legs,
        *shoes,
        *arms,
        Cutout(body, look.main.labelled(0.3, 0.8), 0.6),
        Ball((0, 0.81, 0), (0.13, 0.14), skin),
        Cutout(((-0.14, 0.83), (-0.12, 0.96), (0, 1.0), (0.12, 0.96), (0.14, 0.83), (0, 0.9)),
               look.dark, 0.4),
    ]  # fmt: skip


def rubber_duck(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A bath duck."""
    side = side_of(look)
    yellow = look.among((248, 206, 60), (248, 206, 60), (240, 150, 182), gloss=0.8)
    body = (
        (-0.7, 0.5),
        (-0.5, 0.08),
        (0.1, 0.0),
        (0.5, 0.12),
        (0.6, 0.4),
        (0.3, 0.56),
        (-0.3, 0.42),
    )
    wing = ((-0.4, 0.34), (-0.1, 0.16), (0.16, 0.26), (0.1, 0.42))
    beak = ((0.56, 0.72), (0.62, 0.8), (0.86, 0.74), (0.62, 0.64))
    return [
        Cutout(facing(side, body), yellow, 0.8),
        Cutout(facing(side, wing), yellow.tone(0.92), 0.5),
        Cutout(facing(side, beak), look.paint(236, 120, 40), 0.5),
        Ball((side * 0.34, 0.74, 0), (0.29, 0.27), yellow),
        Ball((side * 0.46, 0.8, 0), (0.035, 0.045), look.dark),
    ]


def umbrella(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """An open umbrella on its shaft."""
    scallops = [(0.62 - 0.31 * k / 2, 0.56 + (0.05 if k % 2 else 0.0)) for k in range(9)]
    dome = ((-0.55, 0.78), (-0.3, 0.92), (0, 0.96), (0.3, 0.92), (0.55, 0.78))
    hook = ((0, 0.6, 0), (0, 0.1, 0), (0.03, 0.025, 0), (0.1, 0.025, 0), (0.12, 0.09, 0))
    return [
        Rod(hook, 0.02, look.dark),
        Rod(((0, 0.95, 0), (0, 1.0, 0)), 0.015, look.metal),
        Cutout((*dome, *scallops), look.main, 0.6, smooth=False),
    ]


def guitar(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """An acoustic guitar upright."""
    right = ((0, 0), (0.14, 0.01), (0.22, 0.12), (0.19, 0.24), (0.135, 0.31), (0.16, 0.4), (0.1, 0.47),
             (0, 0.48))  # fmt: skip
    wood = look.among((206, 140, 70), (150, 80, 40), (232, 190, 130), (40, 34, 34), gloss=0.8)
    neck = ((-0.022, 0.36), (-0.02, 0.86), (0.02, 0.86), (0.022, 0.36))
    head = ((-0.02, 0.85), (-0.04, 0.88), (-0.035, 1.0), (0.035, 1.0), (0.04, 0.88), (0.02, 0.85))
    return [
        Cutout(mirrored(right), wood, 0.3),
        Ball((0, 0.34, 0), (0.055, 0.055), look.dark, flat=1.0),
        Cutout(neck, look.paint(70, 44, 30), 0.3, smooth=False),
        Cutout(head, look.paint(90, 56, 36), 0.2, smooth=False),
        Rod(((-0.06, 0.16, 0), (0.06, 0.16, 0)), 0.012, look.dark),
    ]


def apple(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """An apple with a leaf."""
    right = (
        (0, 0.02),
        (0.12, 0.0),
        (0.32, 0.1),
        (0.48, 0.44),
        (0.42, 0.74),
        (0.22, 0.86),
        (0, 0.8),
    )
    skin = look.among((196, 36, 44), (140, 180, 60), (226, 180, 70), gloss=0.8)
    leaf = ((0.02, 0.86), (0.12, 0.98), (0.3, 0.98), (0.2, 0.87))
    return [
        Cutout(mirrored(right), skin, 1.0),
        Rod(((0, 0.78, 0), (0.02, 0.9, 0), (0.05, 1.0, 0)), 0.018, look.paint(94, 64, 42)),
        Cutout(leaf, look.paint(84, 140, 60), 0.4),
    ]


def pear(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A pear."""
    right = (
        (0, 0.0),
        (0.2, 0.02),
        (0.35, 0.22),
        (0.3, 0.46),
        (0.17, 0.68),
        (0.12, 0.84),
        (0, 0.89),
    )
    skin = look.among((186, 190, 80), (214, 190, 90), (160, 110, 60), gloss=0.4)
    return [
        Cutout(mirrored(right), skin, 1.0),
        Rod(((0, 0.87, 0), (0.02, 0.94, 0), (0.06, 1.0, 0)), 0.016, look.paint(94, 64, 42)),
    ]


def banana(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """Two bananas."""
    side = side_of(look)
    skin = look.paint(244, 206, 72, gloss=0.3)
    parts: list[Part] = []
    for k, tone in ((0.1, 0.88), (0.0, 1.0)):
        path = (
            (-0.8, 0.86 - k),
            (-0.6, 0.42 - k * 0.5),
            (-0.1, 0.2 + k),
            (0.45, 0.28 + k),
            (0.85, 0.56 + k),
        )
        curve = tuple((side * x, y, 0.0) for x, y in path)
        parts.append(Rod(curve[:4], 0.14, skin.tone(tone), 0.16))
        parts.append(Rod((curve[3], curve[4]), 0.15, skin.tone(tone), 0.07))
    return [
        *parts,
        Rod(((side * -0.8, 0.8, 0), (side * -0.88, 1.0, 0)), 0.08, skin.tone(0.8), 0.05),
    ]


def bread(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A loaf."""
    right = ((0, 0), (0.9, 0.0), (1.02, 0.2), (0.98, 0.6), (0.7, 0.94), (0, 1.0))
    crust = look.among((190, 124, 62), (214, 156, 90), (140, 88, 50), gloss=0.1)
    cuts = [
        Rod(((x - 0.12, 0.56, 0), (x + 0.02, 0.74, 0), (x + 0.12, 0.9, 0)), 0.05, crust.tone(1.25))
        for x in (-0.55, -0.05, 0.45)
    ]
    return [Cutout(mirrored(right), crust, 0.8), *cuts]


def burger(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A hamburger."""
    bun = look.paint(208, 140, 72, gloss=0.4)
    top = ((0.56, 0.6), (0.66, 0.63), (0.86, 0.48), (0.97, 0.24), (1.0, 0.02))
    frill = tuple(
        (0.66 * np.cos(a) * (1 + 0.04 * (-1) ** k), 0.5 + 0.09 * np.sin(a) + 0.03 * (-1) ** k)
        for k, a in enumerate(np.linspace(0, 2 * np.pi, 25)[:-1].tolist())
    )
    return [
        Turned(((0, 0.54), (0.04, 0.6), (0.22, 0.6)), bun),
        Turned(((0.2, 0.62), (0.26, 0.65), (0.38, 0.65), (0.42, 0.62)), look.paint(96, 58, 38)),
        Turned(((0.4, 0.63), (0.46, 0.64)), look.paint(244, 190, 66, gloss=0.5)),
        Cutout(frill, look.paint(110, 170, 70), 0.2),
        Turned(((0.47, 0.58), (0.55, 0.58)), look.paint(200, 60, 44, gloss=0.6)),
        Turned(top, bun),
    ]


def pillow(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A cushion."""
    right = ((0, 0.04), (0.4, 0.05), (0.55, 0.0), (0.52, 0.5), (0.55, 1.0), (0.4, 0.95), (0, 0.96))
    return [Cutout(mirrored(right), Paint(look.main.color, 0.0, decor=look.main.decor), 0.8)]


def candle_holder(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A branched holder with three candles."""
    wax = look.among((246, 240, 226), (190, 40, 46), (30, 60, 60), gloss=0.1)
    arm = ((-0.36, 0.6, 0), (-0.34, 0.44, 0), (0, 0.34, 0), (0.34, 0.44, 0), (0.36, 0.6, 0))
    candles = [
        Turned(((base, 0.035), (base + 0.34, 0.035)), wax, (x, 0, 0))
        for x, base in ((-0.36, 0.6), (0, 0.66), (0.36, 0.6))
    ]
    return [
        Turned(((0, 0.24), (0.03, 0.22), (0.06, 0.08)), look.metal),
        Rod(((0, 0.05, 0), (0, 0.66, 0)), 0.024, look.metal),
        Rod(arm, 0.024, look.metal),
        *candles,
    ]


TOYS = {
    "toy car": toy_car,
    "ball": ball,
    "teddy": teddy,
    "figure": figure,
    "rubber duck": rubber_duck,
    "umbrella": umbrella,
    "guitar": guitar,
    "apple": apple,
    "pear": pear,
    "banana": banana,
    "bread": bread,
    "burger": burger,
    "pillow": pillow,
    "candle holder": candle_holder,
}
