"""Products turned on a lathe that have handles, spouts, stems or leaves besides."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.product_easel import Part, Point, View
from scripts.train_embedded.product_parts import Ball, Cutout, Rod, box
from scripts.train_embedded.product_shading import Look, Paint
from scripts.train_embedded.product_turned import Turned


def mug(look: Look, view: View) -> list[Part]:
    """A mug with its handle."""
    width = look.vary(0.36, 0.5)
    side = float(look.rng.choice((-1, 1)))
    handle = _handle(side * (width - 0.03), 0.2, 0.8, side * look.vary(0.26, 0.38))
    foot = look.vary(0.85, 1.0) * width
    body = ((0, foot * 0.94), (0.04, foot), (0.5, width), (1, width))
    drink = look.among((70, 42, 26), (150, 96, 40), (236, 228, 214))
    turned = Turned(body, look.main.labelled(0.25, 0.75), inside=drink)
    bar = Rod(handle, 0.055, look.main.plain())
    behind = view.turn((side, 0, 0))[2] < 0
    return [bar, turned] if behind else [turned, bar]


def cup_and_saucer(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A tea cup on its saucer."""
    side = float(look.rng.choice((-1, 1)))
    plate = Turned(((0, 0.5), (0.04, 0.55), (0.1, 0.95)), look.main, inside=look.main.tone(0.94))
    body = ((0, 0.26), (0.06, 0.28), (0.3, 0.48), (0.6, 0.58), (0.9, 0.62))
    drink = look.among((70, 42, 26), (170, 100, 40))
    cup = Turned(body, look.main.labelled(0.5, 0.9), (0, 0.06, 0), inside=drink)
    return [plate, Rod(_handle(side * 0.5, 0.35, 0.85, side * 0.36), 0.05, look.accent), cup]


def stemmed_glass(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A wine glass or a cocktail glass with a drink."""
    wide = look.vary(0.2, 0.3)
    bowl = (
        ((0.42, 0.012), (0.46, 0.08), (0.62, wide), (0.8, wide * 0.95), (1, wide * 0.78))
        if look.rng.random() < 0.65
        else ((0.48, 0.012), (0.5, 0.04), (1, wide * 1.4))
    )
    clear = Paint(look.paint(206, 214, 220).color, 1.0)
    drink = look.among((110, 20, 40), (236, 214, 140), (240, 150, 160), (230, 120, 40), gloss=0.8)
    filled = tuple((h, r * 0.97) for h, r in bowl if h < 0.85)
    foot = Turned(((0, wide * 0.8), (0.015, wide * 0.78), (0.03, wide * 0.6)), clear)
    stem = Turned(((0.02, 0.016), (0.25, 0.012), (0.47, 0.014)), clear)
    return [foot, stem, Turned(bowl, clear, inside=clear.tone(0.9)), Turned(filled, drink)]


def pump_bottle(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A soap dispenser."""
    width, side = look.vary(0.16, 0.24), float(look.rng.choice((-1, 1)))
    body = ((0, width * 0.94), (0.02, width), (0.55, width), (0.64, 0.08), (0.68, 0.07))
    collar = Turned(((0.66, 0.085), (0.76, 0.08), (0.765, 0.05)), look.accent)
    stem = Rod(((0, 0.76, 0), (0, 0.9, 0)), 0.024, look.accent)
    spout = Rod(
        ((0, 0.93, 0), (side * 0.16, 0.94, 0), (side * 0.24, 0.89, 0)), 0.035, look.accent, 0.022
    )
    head = Turned(((0.88, 0.06), (0.97, 0.065), (0.98, 0.05)), look.accent)
    return [Turned(body, look.main.labelled(0.15, 0.75)), collar, stem, spout, head]


def spray_bottle(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A trigger sprayer."""
    side = float(look.rng.choice((-1, 1)))
    body = ((0, 0.18), (0.02, 0.2), (0.4, 0.2), (0.58, 0.09), (0.66, 0.07))
    head = ((-0.1, 0.76), (0.08, 0.78), (0.26, 0.88), (0.26, 0.98), (-0.06, 1.0), (-0.18, 0.92))
    trigger = Rod(((side * 0.1, 0.83, 0), (side * 0.17, 0.76, 0), (side * 0.15, 0.66, 0)), 0.024,
                  look.accent)  # fmt: skip
    return [
        Turned(body, look.main.labelled(0.15, 0.6)),
        Turned(((0.66, 0.08), (0.78, 0.075)), look.accent),
        trigger,
        Cutout(tuple((side * u, v) for u, v in head), look.accent, 0.6, smooth=False),
    ]


def dropper_bottle(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A serum bottle with a rubber bulb."""
    width = look.vary(0.17, 0.22)
    body = ((0, width * 0.95), (0.02, width), (0.45, width), (0.53, 0.08), (0.58, 0.075))
    collar = Turned(((0.56, 0.105), (0.72, 0.105), (0.73, 0.07)), look.metal)
    bulb = ((0.72, 0.06), (0.76, 0.07), (0.9, 0.06), (0.97, 0.045), (1, 0.01))
    return [Turned(body, look.main.labelled(0.15, 0.75)), collar, Turned(bulb, look.accent)]


def teapot(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A round teapot, spout to one side."""
    side = float(look.rng.choice((-1, 1)))
    body = ((0, 0.3), (0.04, 0.34), (0.3, 0.52), (0.5, 0.52), (0.72, 0.3), (0.76, 0.26))
    lid = ((0.75, 0.28), (0.8, 0.24), (0.87, 0.1), (0.88, 0.05), (0.93, 0.07), (1, 0.01))
    spout = ((side * 0.42, 0.3, 0), (side * 0.62, 0.42, 0), (side * 0.7, 0.62, 0),
             (side * 0.84, 0.74, 0))  # fmt: skip
    handle = _handle(-side * 0.42, 0.2, 0.68, -side * 0.46)
    main = look.main.plain()
    return [
        Rod(spout, 0.11, main, 0.05),
        Rod(handle, 0.045, look.accent),
        Turned(body, look.main),
        Turned(lid, look.main.plain()),
    ]


def kettle(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A kettle with its handle overhead."""
    side = float(look.rng.choice((-1, 1)))
    body = ((0, 0.44), (0.03, 0.46), (0.2, 0.44), (0.5, 0.3), (0.6, 0.2))
    lid = ((0.6, 0.2), (0.64, 0.16), (0.66, 0.04), (0.7, 0.05), (0.73, 0.01))
    spout = ((side * 0.34, 0.3, 0), (side * 0.5, 0.4, 0), (side * 0.6, 0.56, 0))
    handle = ((-0.32, 0.46, 0), (-0.3, 0.8, 0), (0, 0.98, 0), (0.3, 0.8, 0), (0.32, 0.46, 0))
    return [
        Rod(handle, 0.035, look.dark),
        Rod(spout, 0.09, look.main.plain(), 0.045),
        Turned(body, look.main.plain()),
        Turned(lid, look.accent),
    ]


def table_lamp(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A lamp with a conical shade."""
    top = look.vary(0.12, 0.26)
    if look.rng.random() < 0.5:
        foot, stem_low = ((0, 0.18), (0.03, 0.2), (0.06, 0.16)), 0.04
    else:
        foot, stem_low = ((0, 0.14), (0.04, 0.17), (0.22, 0.2), (0.45, 0.06), (0.5, 0.03)), 0.49
    shade = look.among((250, 240, 220), (244, 226, 190), (230, 228, 226), gloss=0.0)
    cloth = shade if look.rng.random() < 0.6 else look.accent
    return [
        Turned(foot, look.main.plain()),
        Rod(((0, stem_low, 0), (0, 0.62, 0)), 0.02, look.metal),
        Turned(((0.54, look.vary(0.3, 0.38)), (1, top)), cloth, inside=cloth.tone(1.15)),
    ]


def jar_candle(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A candle burning in a glass."""
    wax = look.among((246, 236, 214), (238, 214, 196), (230, 206, 214))
    body = ((0, 0.34), (0.04, 0.37), (0.78, 0.37))
    flame = Cutout(((-0.045, 0.87), (0, 0.81), (0.045, 0.87), (0.01, 0.99)), Paint(
        look.paint(255, 226, 140).color * np.float32(1.25), 0.0), 0.1)  # fmt: skip
    return [
        Turned(body, look.main.labelled(0.2, 0.75), inside=wax),
        Rod(((0, 0.76, 0), (0, 0.85, 0)), 0.008, look.dark),
        flame,
    ]


def diffuser(look: Look, view: View) -> list[Part]:
    """A reed diffuser."""
    reeds: list[Part] = [
        Rod(
            ((lean * 0.1, 0.4, 0), (lean, look.vary(0.86, 1.0), 0)),
            0.009,
            look.paint(186, 150, 106),
        )
        for lean in np.linspace(-0.24, 0.24, int(look.rng.integers(4, 7)))
    ]
    body = ((0, 0.17), (0.02, 0.19), (0.3, 0.19), (0.4, 0.08), (0.47, 0.075))
    if look.rng.random() < 0.5:
        width = look.vary(0.28, 0.36)
        vessel = box((-width / 2, 0, -width / 2), (width, 0.4, width), look.main, view)
        return [*vessel, Turned(((0.4, 0.08), (0.47, 0.08)), look.metal), *reeds]
    return [*reeds, Turned(body, look.main.labelled(0.15, 0.65), inside=look.dark)]


def light_bulb(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A bulb standing on its cap."""
    cap = ((0, 0.06), (0.02, 0.11), (0.06, 0.13), (0.08, 0.12), (0.12, 0.14), (0.14, 0.13),
           (0.18, 0.14), (0.24, 0.14))  # fmt: skip
    glass = ((0.24, 0.13), (0.4, 0.2), (0.62, 0.33), (0.8, 0.31), (0.94, 0.18), (1, 0.01))
    return [
        Turned(cap, look.metal),
        Turned(glass, look.among((250, 246, 230), (236, 214, 160), gloss=0.9)),
    ]


def trophy(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A cup with two handles on a dark foot."""
    gold = Paint(look.paint(216, 176, 80).color, 0.9, metal=True)
    metal = gold if look.rng.random() < 0.7 else look.metal
    cup = ((0.44, 0.03), (0.47, 0.1), (0.6, 0.24), (0.8, 0.28), (1, 0.31))
    return [
        Turned(((0, 0.22), (0.14, 0.2)), look.dark),
        Turned(((0.14, 0.16), (0.18, 0.1), (0.3, 0.035), (0.44, 0.04)), metal),
        Rod(_handle(0.24, 0.55, 0.92, 0.24), 0.026, metal),
        Rod(_handle(-0.24, 0.55, 0.92, -0.24), 0.026, metal),
        Turned(cup, metal, inside=metal.tone(0.7)),
    ]


def brush(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A make-up brush standing on its handle."""
    hair = look.among((60, 42, 34), (226, 190, 160), (240, 160, 170), (30, 28, 30), gloss=0.0)
    tip = ((0.62, 0.06), (0.75, 0.11), (0.88, 0.12), (0.96, 0.08), (1, 0.02))
    return [
        Turned(((0, 0.03), (0.02, 0.04), (0.3, 0.05), (0.48, 0.045)), look.main.plain()),
        Turned(tip, hair),
        Turned(((0.46, 0.048), (0.62, 0.062), (0.66, 0.064)), look.metal),
    ]


def potted_plant(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """Leaves in a pot."""
    leaf = look.among((58, 118, 62), (84, 140, 70), (40, 96, 66), (120, 160, 90))
    leaves: list[Part] = []
    for _ in range(int(look.rng.integers(6, 11))):
        lean = look.vary(-1, 1)
        tip = (lean * look.vary(0.3, 0.48), look.vary(0.6, 1.0) - 0.15 * abs(lean))
        middle = (tip[0] * 0.45, 0.3 + 0.6 * (tip[1] - 0.3))
        thick = look.vary(0.035, 0.07)
        outline = ((0, 0.3), (middle[0] - thick, middle[1] + 0.02), tip,
                   (middle[0] + thick, middle[1] - 0.02))  # fmt: skip
        tint = Paint(leaf.color * np.float32(look.vary(0.7, 1.2)), 0.3)
        leaves.append(Cutout(outline, tint, 0.5))
    return [*leaves, _pot(look)]


def cactus(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A cactus with arms in a pot."""
    green = look.among((76, 130, 80), (100, 146, 96), (60, 110, 84))
    arm = Rod(((0, 0.55, 0), (-0.19, 0.56, 0), (-0.2, 0.78, 0)), 0.06, green)
    other = Rod(((0, 0.45, 0), (0.18, 0.47, 0), (0.19, 0.64, 0)), 0.055, green)
    return [arm, other, Rod(((0, 0.3, 0), (0, 0.6, 0), (0, 0.9, 0)), 0.1, green), _pot(look)]


def ice_cream(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """Scoops in a cone."""
    cone = look.paint(214, 160, 96, gloss=0.0)
    scoop, other = look.main.plain(), look.accent
    return [
        Turned(((0, 0.012), (0.02, 0.02), (0.55, 0.2), (0.6, 0.2)), cone),
        Ball((0, 0.86, 0), (0.15, 0.14), other),
        Ball((0, 0.68, 0), (0.22, 0.17), scoop),
    ]


def cupcake(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A cupcake with frosting."""
    case = Turned(((0, 0.26), (0.02, 0.27), (0.45, 0.38)), look.accent)
    frosting = look.main.plain()
    return [
        case,
        Turned(
            (
                *((0.42, 0.36), (0.48, 0.42), (0.58, 0.38), (0.6, 0.32), (0.7, 0.32)),
                *((0.76, 0.22), (0.84, 0.2), (0.9, 0.06)),
            ),
            frosting,
        ),
        Ball((0, 0.93, 0), (0.07, 0.07), look.paint(190, 30, 44, gloss=0.9)),
    ]


def cake(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A cake of two tiers on a plate."""
    cream = look.main.labelled(0.1, 0.9)
    plate = Turned(((0, 0.6), (0.05, 0.95)), look.among((246, 246, 244), (214, 184, 120)))
    low = Turned(((0.05, 0.78), (0.07, 0.8), (0.48, 0.8), (0.5, 0.78)), cream)
    high = Turned(((0.5, 0.5), (0.86, 0.5), (0.88, 0.48)), look.accent)
    berries = [
        Ball((0.3 * np.cos(a), 0.92, 0.3 * np.sin(a)), (0.075, 0.075), look.paint(190, 30, 44))
        for a in np.linspace(-2.6, 1.6, 6).tolist()
    ]
    return [plate, low, high, *berries]


def hand_weight(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A dumb-bell standing on one end."""
    plate = ((0, 0.3), (0.02, 0.32), (0.26, 0.32), (0.28, 0.3))
    return [
        Turned(plate, look.main.plain()),
        Turned(((0.28, 0.09), (0.72, 0.09)), look.metal),
        Turned(plate, look.main.plain(), (0, 0.72, 0)),
    ]


def stool(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """A round seat on four legs."""
    wood = look.among((176, 126, 80), (214, 172, 124), (60, 44, 36), (230, 230, 228))
    legs = [
        Rod(((x * 0.3, 0.01, z * 0.3), (x * 0.2, 0.88, z * 0.2)), 0.03, wood, smooth=False)
        for x, z in ((-1, -1), (1, -1), (-1, 1), (1, 1))
    ]
    return [*legs, Turned(((0.86, 0.32), (0.88, 0.35), (0.97, 0.35), (1, 0.33)), look.main)]


def _pot(look: Look) -> Turned:
    pot = look.main if look.rng.random() < 0.6 else look.among((190, 100, 66), (236, 232, 226))
    earth = look.paint(70, 50, 38, gloss=0.0)
    return Turned(((0, 0.16), (0.02, 0.17), (0.3, 0.24), (0.36, 0.25)), pot, inside=earth)


def _handle(x: float, low: float, high: float, reach: float) -> tuple[Point, ...]:
    """An ear of a vessel from `low` to `high`, `reach` wide."""
    middle = (low + high) / 2
    return (
        (x, low, 0),
        (x + 0.75 * reach, low + 0.1 * (high - low), 0),
        (x + reach, middle, 0),
        (x + 0.75 * reach, high - 0.1 * (high - low), 0),
        (x, high, 0),
    )


VESSELS = {
    "mug": mug,
    "cup and saucer": cup_and_saucer,
    "stemmed glass": stemmed_glass,
    "pump bottle": pump_bottle,
    "spray bottle": spray_bottle,
    "dropper bottle": dropper_bottle,
    "teapot": teapot,
    "kettle": kettle,
    "table lamp": table_lamp,
    "jar candle": jar_candle,
    "diffuser": diffuser,
    "light bulb": light_bulb,
    "trophy": trophy,
    "brush": brush,
    "potted plant": potted_plant,
    "cactus": cactus,
    "ice cream": ice_cream,
    "cupcake": cupcake,
    "cake": cake,
    "hand weight": hand_weight,
    "stool": stool,
}
