"""Products that are one profile, or two with their lid: bottles, jars, cups and vases."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.train_embedded.product_easel import Part, View
from scripts.train_embedded.product_shading import Look
from scripts.train_embedded.product_turned import Profile, Turned


@dataclass(frozen=True, slots=True)
class Lathe:
    """A product that is one profile, or two: a body and its lid.

    Attributes:
        body: profile of the body.
        lid: profile of the lid, in the accent's colour or, if `metal_lid`, in metal.
        label: heights (0..1 of the body) of its print.
        open_top: whether one looks into it from above.
        metal_lid: see `lid`.
        oval: smallest depth over width it may have.
    """

    body: Profile
    lid: Profile | None = None
    label: tuple[float, float] = (0.2, 0.7)
    open_top: bool = False
    metal_lid: bool = False
    oval: float = 1.0

    def __call__(self, look: Look, view: View) -> list[Part]:  # noqa: ARG002 round from all sides
        """The parts, a little slimmer or stouter each time."""
        stretch = look.vary(0.85, 1.18)
        oval = look.vary(self.oval, 1.0)
        inside = look.main.tone(look.vary(0.45, 0.8)) if self.open_top else None
        paint = look.main.labelled(*self.label)
        parts: list[Part] = [Turned(_wider(self.body, stretch), paint, inside=inside, oval=oval)]
        if self.lid is not None:
            lid = look.metal if self.metal_lid else look.accent
            parts.append(Turned(_wider(self.lid, stretch), lid, oval=oval))
        return parts


def _wider(profile: Profile, factor: float) -> Profile:
    return tuple((height, radius * factor) for height, radius in profile)


LATHES: dict[str, Lathe] = {
    "wine bottle": Lathe(
        ((0, 0.11), (0.015, 0.12), (0.55, 0.12), (0.62, 0.11), (0.72, 0.045), (0.8, 0.04)),
        ((0.8, 0.042), (0.96, 0.042), (0.965, 0.05), (1, 0.048)),
    ),
    "water bottle": Lathe(
        (
            *((0, 0.1), (0.02, 0.13), (0.26, 0.13), (0.3, 0.122), (0.34, 0.13), (0.62, 0.13)),
            *((0.72, 0.11), (0.82, 0.06), (0.88, 0.045)),
        ),
        ((0.88, 0.06), (0.99, 0.06), (1, 0.055)),
        (0.4, 0.72),
    ),
    "beer bottle": Lathe(
        ((0, 0.12), (0.02, 0.13), (0.5, 0.13), (0.6, 0.11), (0.75, 0.055), (0.95, 0.045)),
        ((0.95, 0.055), (0.96, 0.06), (1, 0.05)),
        metal_lid=True,
    ),
    "milk bottle": Lathe(
        (
            (0, 0.17),
            (0.03, 0.19),
            (0.5, 0.19),
            (0.7, 0.11),
            (0.88, 0.1),
            (0.89, 0.12),
            (0.94, 0.12),
        ),
        ((0.94, 0.125), (0.99, 0.125), (1, 0.115)),
        (0.2, 0.5),
    ),
    "carafe": Lathe(
        ((0, 0.2), (0.03, 0.24), (0.2, 0.26), (0.5, 0.15), (0.75, 0.08), (0.92, 0.1), (1, 0.13)),
        open_top=True,
    ),
    "round perfume bottle": Lathe(
        ((0, 0.14), (0.03, 0.22), (0.25, 0.33), (0.48, 0.26), (0.62, 0.09), (0.68, 0.075)),
        ((0.68, 0.1), (0.7, 0.11), (0.98, 0.11), (1, 0.1)),
        (0.3, 0.7),
        metal_lid=True,
        oval=0.5,
    ),
    "flask": Lathe(
        ((0, 0.28), (0.03, 0.31), (0.4, 0.31), (0.6, 0.27), (0.7, 0.11), (0.78, 0.08)),
        ((0.78, 0.11), (0.98, 0.11), (1, 0.1)),
        (0.15, 0.7),
        oval=0.35,
    ),
    "shampoo bottle": Lathe(
        ((0, 0.17), (0.03, 0.2), (0.3, 0.205), (0.66, 0.19), (0.76, 0.15), (0.8, 0.13)),
        ((0.8, 0.13), (0.98, 0.12), (1, 0.11)),
        (0.12, 0.8),
        oval=0.5,
    ),
    "tube standing on its cap": Lathe(
        ((0.2, 0.13), (0.23, 0.16), (0.6, 0.185), (0.95, 0.2), (1, 0.2)),
        ((0, 0.13), (0.01, 0.135), (0.2, 0.14)),
        (0.15, 0.75),
        oval=0.3,
    ),
    "cream jar": Lathe(
        ((0, 0.46), (0.06, 0.52), (0.55, 0.52), (0.6, 0.5)),
        ((0.6, 0.52), (0.62, 0.54), (0.96, 0.54), (1, 0.5)),
        (0.2, 0.85),
    ),
    "jam jar": Lathe(
        ((0, 0.28), (0.03, 0.32), (0.6, 0.32), (0.74, 0.27), (0.82, 0.26)),
        ((0.8, 0.29), (0.82, 0.3), (0.98, 0.3), (1, 0.28)),
        (0.15, 0.7),
        metal_lid=True,
    ),
    "storage jar": Lathe(
        ((0, 0.3), (0.03, 0.33), (0.78, 0.33), (0.8, 0.32)),
        ((0.8, 0.345), (0.86, 0.345), (0.88, 0.1), (0.9, 0.06), (0.95, 0.08), (1, 0.03)),
        (0.2, 0.7),
    ),
    "soda can": Lathe(
        ((0, 0.2), (0.04, 0.25), (0.88, 0.25), (0.95, 0.21)),
        ((0.95, 0.215), (0.96, 0.225), (1, 0.22)),
        (0.1, 0.8),
        metal_lid=True,
    ),
    "tin can": Lathe(
        ((0, 0.36), (0.02, 0.38), (0.04, 0.36), (0.96, 0.36), (0.98, 0.38), (1, 0.37)),
        label=(0.06, 0.94),
    ),
    "paper cup": Lathe(
        ((0, 0.23), (0.02, 0.24), (0.88, 0.34)),
        ((0.86, 0.36), (0.89, 0.37), (0.92, 0.33), (0.99, 0.32), (1, 0.3)),
        (0.25, 0.7),
    ),
    "tumbler": Lathe(((0, 0.3), (0.05, 0.33), (0.6, 0.37), (1, 0.4)), open_top=True),
    "bowl": Lathe(
        ((0, 0.38), (0.08, 0.36), (0.1, 0.45), (0.4, 0.85), (0.75, 1.02), (1, 1.08)),
        label=(0.5, 0.9),
        open_top=True,
    ),
    "slim vase": Lathe(
        ((0, 0.12), (0.03, 0.14), (0.35, 0.19), (0.65, 0.13), (0.88, 0.07), (1, 0.1)),
        open_top=True,
    ),
    "round vase": Lathe(
        ((0, 0.18), (0.04, 0.22), (0.35, 0.42), (0.62, 0.36), (0.8, 0.16), (0.93, 0.15), (1, 0.2)),
        open_top=True,
    ),
    "amphora": Lathe(
        (
            *((0, 0.16), (0.04, 0.17), (0.08, 0.11), (0.3, 0.25), (0.55, 0.32), (0.7, 0.24)),
            *((0.8, 0.11), (0.93, 0.11), (0.96, 0.17), (1, 0.17)),
        ),
        open_top=True,
    ),
    "candle": Lathe(((0, 0.23), (0.02, 0.24), (0.98, 0.24), (1, 0.22)), label=(0.3, 0.6)),
    "thermos": Lathe(
        ((0, 0.14), (0.02, 0.155), (0.7, 0.155), (0.74, 0.14)),
        ((0.74, 0.14), (0.75, 0.15), (0.97, 0.14), (1, 0.12)),
    ),
    "cocktail shaker": Lathe(
        ((0, 0.14), (0.02, 0.16), (0.55, 0.2), (0.58, 0.2)),
        ((0.58, 0.2), (0.7, 0.18), (0.78, 0.09), (0.8, 0.085), (0.97, 0.08), (1, 0.05)),
        metal_lid=True,
    ),
    "nail polish": Lathe(
        ((0, 0.19), (0.03, 0.21), (0.36, 0.21), (0.44, 0.12)),
        ((0.42, 0.1), (0.44, 0.12), (0.98, 0.09), (1, 0.08)),
        (0.2, 0.8),
    ),
    "lipstick": Lathe(
        ((0, 0.14), (0.01, 0.15), (0.42, 0.15), (0.421, 0.125), (0.62, 0.125)),
        ((0.62, 0.1), (0.86, 0.1), (0.95, 0.07), (1, 0.01)),
        (0.1, 0.5),
    ),
    "pepper mill": Lathe(
        (
            *((0, 0.17), (0.05, 0.18), (0.12, 0.15), (0.4, 0.09), (0.55, 0.12), (0.62, 0.14)),
            (0.66, 0.1),
        ),
        ((0.66, 0.1), (0.72, 0.15), (0.82, 0.14), (0.9, 0.06), (0.92, 0.03), (0.96, 0.05), (1, 0)),
    ),
    "chess piece": Lathe(
        (
            *((0, 0.24), (0.08, 0.25), (0.12, 0.18), (0.16, 0.2), (0.2, 0.14), (0.5, 0.085)),
            *((0.62, 0.08), (0.64, 0.16), (0.67, 0.15), (0.69, 0.09), (0.74, 0.14), (0.84, 0.17)),
            *((0.94, 0.12), (1, 0.01)),
        )
    ),
    "hourglass": Lathe(
        (
            *((0, 0.28), (0.07, 0.28), (0.075, 0.2), (0.25, 0.22), (0.48, 0.03), (0.52, 0.03)),
            *((0.75, 0.22), (0.925, 0.2), (0.93, 0.28), (1, 0.28)),
        )
    ),
    "speaker column": Lathe(
        ((0, 0.24), (0.03, 0.27), (0.95, 0.27), (0.99, 0.24), (1, 0.22)), label=(0.1, 0.9)
    ),
}
