"""What a renderer hands on: a background, its words and what a product needs to stand in it."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.train_embedded.canvas import Array
from scripts.train_embedded.light import Light


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a product may stand, and what it does to the ground.

    Attributes:
        left: smallest x of the product's centre, in units.
        right: largest x.
        far: smallest y of the product's foot (the farthest place), in units.
        near: largest y of the foot.
        gloss: 0 matte; 1 a mirror: how much of a reflection the ground shows.
        roughness: blur of the reflection, 0 sharp to 1 very diffuse.
        upright: False where the camera looks straight down on the surface (planks, linen,
            marble slab): the product lies on it and its shadow falls beside it all around.
    """

    left: float
    right: float
    far: float
    near: float
    gloss: float = 0.0
    roughness: float = 0.5
    upright: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One rendered background.

    Attributes:
        image: (H, W, 3) float32, sRGB in 0..1.
        kind: key of KINDS in scenes.py.
        phrases: the main phrase first, then details.
        light: what lit it.
        colors: (part, colour name) of every part whose colour the caption may name: the judge
            reads them back ("background", "podium", "table", "wall", ...).
        ground: where a product stands; None if nothing can (a sky, bokeh): it floats there.
    """

    image: Array
    kind: str
    phrases: tuple[str, ...]
    light: Light
    colors: tuple[tuple[str, str], ...] = ()
    ground: Ground | None = None
