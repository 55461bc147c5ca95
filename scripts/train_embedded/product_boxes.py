"""Products with flat faces: packages, devices, books and furniture."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.product_easel import Part, View
from scripts.train_embedded.product_parts import Ball, Cutout, Quad, Rod, box
from scripts.train_embedded.product_shading import Decor, Look, Paint
from scripts.train_embedded.product_turned import Turned


def _block(width: float, height: float, depth: float, paint: Paint, view: View) -> list[Part]:
    """A box standing on the middle of the ground."""
    return box((-width / 2, 0, -depth / 2), (width, height, depth), paint, view)


def carton(look: Look, view: View) -> list[Part]:
    """A package of any proportion."""
    return _block(look.vary(0.4, 1.1), 1, look.vary(0.25, 0.7), look.main, view)


def slim_box(look: Look, view: View) -> list[Part]:
    """A tall box, as tubes and bottles come in."""
    width = look.vary(0.24, 0.38)
    return _block(width, 1, width * look.vary(0.6, 1), look.main.labelled(0.2, 0.8), view)


def flat_box(look: Look, view: View) -> list[Part]:
    """A low box with a lid, as sweets and scarves come in."""
    body = _block(1.5, 0.36, 1.1, look.main, view)
    return [*body, *box((-0.78, 0.36, -0.58), (1.56, 0.22, 1.16), look.accent, view)]


def gift_box(look: Look, view: View) -> list[Part]:
    """A present with a ribbon and a bow."""
    ribbon = Paint(look.accent.color, 0.6)
    body = _block(0.9, 0.68, 0.9, look.main, view)
    lid = box((-0.49, 0.66, -0.49), (0.98, 0.16, 0.98), look.main.tone(1.05), view)
    band = Quad((-0.08, 0, 0.455), (0.16, 0, 0), (0, 0.66, 0), ribbon)
    band_lid = Quad((-0.08, 0.66, 0.495), (0.16, 0, 0), (0, 0.16, 0), ribbon)
    across = Quad((-0.08, 0.825, 0.49), (0.16, 0, 0), (0, 0, -0.98), ribbon)
    loops: list[Part] = [
        Rod(((0, 0.86, 0), (s * 0.24, 1.0, 0), (s * 0.26, 0.84, 0), (0, 0.86, 0)), 0.035, ribbon)
        for s in (-1, 1)
    ]
    side = 1 if view.yaw < 0 else -1
    wrap = Quad((side * 0.455, 0, 0.08), (0, 0, -0.16), (0, 0.66, 0), ribbon)
    return [
        *body,
        band,
        wrap,
        *lid,
        band_lid,
        across,
        *loops,
        Ball((0, 0.87, 0), (0.06, 0.05), ribbon),
    ]


def square_perfume(look: Look, view: View) -> list[Part]:
    """A square flacon with a thick cap."""
    width = look.vary(0.5, 0.75)
    depth = width * look.vary(0.4, 0.8)
    body = _block(width, 0.66, depth, Paint(look.main.color, 0.9, decor=look.main.decor), view)
    neck = Turned(((0.66, 0.09), (0.74, 0.09)), look.metal)
    if look.rng.random() < 0.5:
        return [*body, neck, Turned(((0.72, 0.14), (0.98, 0.14), (1, 0.13)), look.accent)]
    return [*body, neck, *box((-0.14, 0.72, -0.12), (0.28, 0.28, 0.24), look.accent, view)]


def paper_bag(look: Look, view: View) -> list[Part]:
    """A shopping bag with cord handles."""
    width, depth = look.vary(0.56, 0.8), look.vary(0.22, 0.34)
    cords: list[Part] = []
    for z in (-depth / 2, depth / 2):
        high = look.vary(0.96, 1.0)
        path = ((-0.14, 0.68, z), (-0.12, 0.9, z), (0, high, z), (0.12, 0.9, z), (0.14, 0.68, z))
        cords.append(Rod(path, 0.014, look.accent))
    inside = look.main.tone(0.6)
    body = box((-width / 2, 0, -depth / 2), (width, 0.74, depth), look.main, view, top=inside)
    return [cords[0], *body, cords[1]]


def milk_carton(look: Look, view: View) -> list[Part]:
    """A gabled drink carton."""
    paint = look.main.labelled(0.2, 0.8)
    roof = look.main.tone(0.96)
    body = _block(0.44, 0.7, 0.44, paint, view)
    front = Quad((-0.22, 0.7, 0.22), (0.44, 0, 0), (0, 0.22, -0.2), roof)
    fin = Quad((-0.22, 0.92, 0.02), (0.44, 0, 0), (0, 0.08, 0), look.accent)
    side = 1 if view.yaw < 0 else -1
    points = [(side * 0.22, 0.7, 0.22), (side * 0.22, 0.7, -0.22), (side * 0.22, 0.92, 0.0)]
    gable = Cutout(tuple(view.project(p) for p in points), look.main.tone(0.75), 0.1, smooth=False)
    return [*body, gable, front, fin]


def phone(look: Look, view: View) -> list[Part]:
    """A telephone upright, its lit screen to the front."""
    return _screen(look, view, 0.48, 0.05)


def tablet(look: Look, view: View) -> list[Part]:
    """A tablet on its edge."""
    if look.rng.random() < 0.5:
        return _screen(look, view, 1.4, 0.04)
    return _screen(look, view, 0.74, 0.04)


def monitor(look: Look, view: View) -> list[Part]:
    """A screen on its stand."""
    panel = _screen(look, view, 1.35, 0.05, low=0.24)
    foot = Turned(((0, 0.3), (0.02, 0.3), (0.03, 0.26)), look.metal, oval=0.6)
    return [foot, *box((-0.07, 0.02, -0.06), (0.14, 0.3, 0.03), look.metal, view), *panel]


def _screen(look: Look, view: View, width: float, depth: float, *, low: float = 0.0) -> list[Part]:
    """A slab with a bright picture on it."""
    frame = look.dark if look.rng.random() < 0.7 else look.metal
    body = box((-width / 2, low, -depth / 2), (width, 1 - low, depth), frame, view)
    picture = Decor("fade", look.accent.color, look.main.color)
    lit = Paint(look.main.color * np.float32(1.1), 0.5, decor=picture)
    edge = 0.045 * min(width, 1 - low) + 0.01
    face = Quad(
        (-width / 2 + edge, low + edge, depth / 2 + 0.002),
        (width - 2 * edge, 0, 0),
        (0, 1 - low - 2 * edge, 0),
        lit,
    )
    return [*body, face]


def laptop(look: Look, view: View) -> list[Part]:
    """An open laptop."""
    shell = look.metal if look.rng.random() < 0.6 else look.dark
    flat = Paint(shell.color, 0.3)
    base = box((-0.8, 0, -0.5), (1.6, 0.05, 1.05), flat, view)
    keys = Quad((-0.7, 0.052, 0.1), (1.4, 0, 0), (0, 0, -0.48), look.dark)
    pad = Quad((-0.22, 0.052, 0.46), (0.44, 0, 0), (0, 0, -0.28), flat.tone(0.88))
    lean = look.vary(0.1, 0.35)
    lid = Quad((-0.8, 0.05, -0.5), (1.6, 0, 0), (0, 0.95, -lean), flat.tone(0.5))
    lit = Paint(look.main.color * np.float32(1.1), 0.4, decor=look.accent.decor or look.main.decor)
    screen = Quad((-0.75, 0.1, -0.49), (1.5, 0, 0), (0, 0.86, -lean * 0.9), lit)
    return [lid, screen, *base, keys, pad]


def speaker(look: Look, view: View) -> list[Part]:
    """A loudspeaker with two cones."""
    width, depth = look.vary(0.48, 0.62), look.vary(0.3, 0.45)
    rim, cone = look.metal, look.dark
    parts = _block(width, 1, depth, look.main.plain(), view)
    for height, radius in ((0.32, 0.2), (0.74, 0.12)):
        center = (0.0, height, depth / 2)
        squeeze = float(np.cos(view.yaw))
        parts.append(Ball(center, (radius * squeeze, radius), rim, flat=0.7))
        parts.append(Ball(center, (radius * 0.85 * squeeze, radius * 0.85), cone, flat=0.3))
        parts.append(Ball(center, (radius * 0.3 * squeeze, radius * 0.3), look.dark.tone(1.8)))
    return parts


def camera(look: Look, view: View) -> list[Part]:
    """A camera, lens to the front."""
    body = look.dark if look.rng.random() < 0.6 else look.main.plain()
    parts = box((-0.7, 0, -0.22), (1.4, 0.72, 0.4), body, view)
    parts += box((-0.7, 0.72, -0.22), (1.4, 0.12, 0.4), look.metal, view)
    parts += box((-0.25, 0.84, -0.15), (0.5, 0.16, 0.3), look.metal, view)
    lens = ((0.18, 0.36), (0.3, 0.36), (0.42, 0.33))
    for k, (z, radius) in enumerate(lens):
        ring = look.dark if k != 1 else look.metal
        parts.append(Ball((0.05, 0.38, z), (radius, radius), ring, flat=0.35))
    parts.append(Ball((0.05, 0.38, 0.43), (0.24, 0.24), Paint(look.paint(30, 36, 60).color, 1.0)))
    return parts


def clock(look: Look, view: View) -> list[Part]:  # noqa: ARG001
    """An alarm clock on two feet."""
    case = look.main.plain()
    hands = [
        Rod(((0, 0.46, 0.1), (np.sin(a) * reach, 0.46 + np.cos(a) * reach, 0.1)), 0.014, look.dark)
        for a, reach in ((look.vary(0, 6.28), 0.18), (look.vary(0, 6.28), 0.27))
    ]
    legs = [Rod(((s * 0.2, 0.14, 0), (s * 0.28, 0.015, 0)), 0.025, look.metal) for s in (-1, 1)]
    bells = [Ball((s * 0.24, 0.87, 0), (0.14, 0.11), look.metal, angle=-s * 0.5) for s in (-1, 1)]
    face = Ball((0, 0.46, 0), (0.35, 0.35), look.among((250, 248, 242), (246, 236, 214)), flat=1.0)
    top = Rod(((-0.12, 0.93, 0), (0, 0.99, 0), (0.12, 0.93, 0)), 0.016, look.metal)
    bells_or_none = [*bells, top] if look.rng.random() < 0.6 else []
    return [*legs, *bells_or_none, Ball((0, 0.46, 0), (0.42, 0.42), case, flat=0.3), face, *hands]


def book(look: Look, view: View) -> list[Part]:
    """A book standing upright."""
    depth = look.vary(0.1, 0.22)
    pages = look.paint(238, 230, 212, gloss=0.0)
    width = look.vary(0.66, 0.8)
    return box((-width / 2, 0, -depth / 2), (width, 1, depth), look.main, view, top=pages)


def book_stack(look: Look, view: View) -> list[Part]:
    """Books lying on each other."""
    parts: list[Part] = []
    pages = look.paint(238, 230, 212, gloss=0.0)
    height, covers = 0.0, (look.main, look.accent, look.dark, look.metal)
    for k in range(int(look.rng.integers(2, 5))):
        thick, wide = look.vary(0.16, 0.28), look.vary(1.0, 1.25)
        cover = Paint(covers[k].color, 0.3)
        leaf = (-wide / 2, height + 0.03, -0.36)
        parts += box((-wide / 2, height, -0.4), (wide, 0.03, 0.8), cover, view)
        parts += box(leaf, (wide * 0.98, thick - 0.06, 0.74), pages, view)
        parts += box((-wide / 2, height + thick - 0.03, -0.4), (wide, 0.03, 0.8), cover, view)
        height += thick
    return parts


def suitcase(look: Look, view: View) -> list[Part]:
    """A trolley case."""
    shell = Paint(look.main.color, 0.6)
    handle = Rod(((-0.16, 0.76, 0), (-0.16, 0.99, 0), (0.16, 0.99, 0), (0.16, 0.76, 0)), 0.022,
                 look.metal, smooth=False)  # fmt: skip
    body = box((-0.32, 0.06, -0.16), (0.64, 0.74, 0.32), shell, view)
    grooves = [
        Quad((x, 0.1, 0.162), (0.02, 0, 0), (0, 0.66, 0), shell.tone(0.75))
        for x in np.linspace(-0.24, 0.22, 5)
    ]
    wheels = [Ball((s * 0.26, 0.035, 0.12), (0.045, 0.045), look.dark) for s in (-1, 1)]
    return [handle, *wheels, *body, *grooves]


def chair(look: Look, view: View) -> list[Part]:
    """A kitchen chair."""
    wood = look.among((176, 126, 80), (214, 172, 124), (60, 44, 36), (236, 236, 234), (30, 30, 32))
    wood = wood if look.rng.random() < 0.6 else look.main.plain()
    seat = look.accent if look.rng.random() < 0.5 else wood
    legs: list[Part] = []
    for x, z in ((-0.22, -0.22), (0.18, -0.22), (-0.22, 0.18), (0.18, 0.18)):
        legs += box((x, 0, z), (0.045, 0.44, 0.045), wood, view)
    plank = box((-0.25, 0.44, -0.24), (0.5, 0.06, 0.49), seat, view)
    posts: list[Part] = []
    for x in (-0.24, 0.19):
        posts += box((x, 0.48, -0.24), (0.05, 0.52, 0.05), wood, view)
    rails: list[Part] = []
    if look.rng.random() < 0.5:
        rails = box((-0.2, 0.62, -0.23), (0.4, 0.34, 0.03), seat, view)
    else:
        for y in (0.6, 0.75, 0.9):
            rails += box((-0.2, y, -0.23), (0.4, 0.07, 0.03), wood, view)
    return [*legs, *posts, *rails, *plank]


def armchair(look: Look, view: View) -> list[Part]:
    """An upholstered chair with arms."""
    cloth = Paint(look.main.color, 0.05)
    legs: list[Part] = []
    for x, z in ((-0.5, -0.35), (0.44, -0.35), (-0.5, 0.38), (0.44, 0.38)):
        legs += box((x, 0, z), (0.06, 0.16, 0.06), look.paint(110, 74, 48), view)
    back = box((-0.5, 0.16, -0.42), (1.0, 0.84, 0.22), cloth, view)
    seat = box((-0.4, 0.16, -0.2), (0.8, 0.3, 0.64), cloth.tone(1.08), view)
    near_left, near_right = (
        box((x, 0.16, -0.3), (0.14, 0.48, 0.75), cloth, view) for x in (-0.54, 0.4)
    )
    arms = (near_right, near_left) if view.yaw > 0 else (near_left, near_right)
    return [*legs, *back, *arms[0], *seat, *arms[1]]


def sofa(look: Look, view: View) -> list[Part]:
    """A two-seater."""
    cloth = Paint(look.main.color, 0.05)
    legs: list[Part] = []
    for x in (-0.95, 0.88):
        legs += box((x, 0, 0.3), (0.07, 0.14, 0.07), look.paint(110, 74, 48), view)
    back = box((-0.95, 0.14, -0.45), (1.9, 0.86, 0.25), cloth, view)
    seats: list[Part] = []
    for x in (-0.82, 0.01):
        seats += box((x, 0.14, -0.2), (0.81, 0.34, 0.65), cloth.tone(1.08), view)
    left, right = (box((x, 0.14, -0.3), (0.16, 0.5, 0.75), cloth, view) for x in (-0.98, 0.82))
    arms = (right, left) if view.yaw > 0 else (left, right)
    return [*legs, *back, *arms[0], *seats, *arms[1]]


def side_table(look: Look, view: View) -> list[Part]:
    """A small table."""
    wood = look.among((176, 126, 80), (214, 172, 124), (60, 44, 36), (236, 236, 234))
    legs: list[Part] = []
    for x, z in ((-0.5, -0.4), (0.44, -0.4), (-0.5, 0.34), (0.44, 0.34)):
        legs += box((x, 0, z), (0.06, 0.92, 0.06), wood, view)
    drawer = box((-0.48, 0.72, -0.38), (0.96, 0.2, 0.76), look.main.plain(), view)
    return [*legs, *drawer, *box((-0.56, 0.92, -0.46), (1.12, 0.08, 0.92), wood, view)]


def toaster(look: Look, view: View) -> list[Part]:
    """A toaster with two slices."""
    bread = look.paint(206, 150, 90, gloss=0.0)
    body = box((-0.68, 0.05, -0.3), (1.36, 0.72, 0.6), Paint(look.main.color, 0.7), view)
    toast = [
        *box((-0.5, 0.7, -0.16), (1.0, 0.3, 0.1), bread, view),
        *box((-0.5, 0.7, 0.06), (1.0, 0.3, 0.1), bread, view),
    ]
    front = Quad((-0.68, 0.05, 0.3), (1.36, 0, 0), (0, 0.72, 0), Paint(look.main.color, 0.7))
    feet = box((-0.6, 0, -0.24), (1.2, 0.05, 0.5), look.dark, view)
    knob = Ball((0.3, 0.3, 0.31), (0.07, 0.07), look.metal, flat=0.5)
    return [*feet, *body, *toast, front, knob]


def soap(look: Look, view: View) -> list[Part]:
    """A bar of soap, or two."""
    first = _block(1.5, 0.44, 0.95, Paint(look.main.color, 0.15), view)
    if look.rng.random() < 0.5:
        return first
    return [*first, *box((-0.6, 0.44, -0.4), (1.4, 0.42, 0.9), Paint(look.accent.color, 0.1), view)]


def compact(look: Look, view: View) -> list[Part]:
    """Face powder, its mirror lid open."""
    powder = look.among((232, 180, 150), (240, 200, 176), (224, 150, 150), gloss=0.0)
    base = Turned(
        ((0, 0.56), (0.02, 0.6), (0.14, 0.6), (0.16, 0.58)), look.main.plain(), inside=powder
    )
    back = 0.6 * float(np.sin(view.pitch)) + 0.16
    lid = Ball((0, back + 0.5, 0), (0.58, 0.52), look.main.plain(), flat=0.8)
    glass = Ball((0, back + 0.5, 0), (0.5, 0.44), look.paint(206, 216, 224, gloss=1.0), flat=0.9)
    return [lid, glass, base]


BOXES = {
    "carton": carton,
    "slim box": slim_box,
    "flat box": flat_box,
    "gift box": gift_box,
    "square perfume bottle": square_perfume,
    "paper bag": paper_bag,
    "milk carton": milk_carton,
    "phone": phone,
    "tablet": tablet,
    "monitor": monitor,
    "laptop": laptop,
    "speaker": speaker,
    "camera": camera,
    "clock": clock,
    "book": book,
    "book stack": book_stack,
    "suitcase": suitcase,
    "chair": chair,
    "armchair": armchair,
    "sofa": sofa,
    "side table": side_table,
    "toaster": toaster,
    "soap": soap,
    "compact": compact,
}
