"""Colours by name, as captions use them and as the judge reads them back."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.canvas import Array

# name: (sRGB 0..255, other words for it)
COLORS: dict[str, tuple[tuple[int, int, int], tuple[str, ...]]] = {
    "red": ((200, 40, 45), ("crimson", "scarlet")),
    "orange": ((236, 128, 42), ("tangerine",)),
    "yellow": ((242, 208, 66), ("lemon yellow",)),
    "green": ((62, 145, 75), ("emerald",)),
    "teal": ((40, 145, 145), ("turquoise",)),
    "blue": ((55, 105, 210), ("azure", "cobalt")),
    "navy": ((24, 38, 88), ("dark blue", "midnight blue")),
    "purple": ((118, 66, 170), ("violet",)),
    "pink": ((242, 150, 182), ("rose", "blush")),
    "beige": ((224, 204, 174), ("cream",)),
    "white": ((243, 243, 241), ("ivory",)),
    "gray": ((140, 142, 146), ("grey",)),
    "black": ((26, 26, 30), ("jet black", "charcoal")),
    "brown": ((118, 78, 50), ("chestnut",)),
    "mint": ((160, 222, 196), ("pale green",)),
    "lavender": ((190, 175, 226), ("lilac",)),
    "gold": ((208, 166, 72), ("golden",)),
    "peach": ((250, 200, 165), ("apricot",)),
}
NAMES = tuple(COLORS)


def rgb(*values: float) -> Array:
    """(3,) float32 in 0..1 from 0..255."""
    return np.array(values, np.float32) / np.float32(255)


def named(name: str, rng: np.random.Generator | None = None, spread: float = 0.02) -> Array:
    """The colour of that name, (3,) float32 in 0..1, varied a little if `rng` is given."""
    color = rgb(*COLORS[name][0])
    if rng is None:
        return color
    return np.clip(color + rng.normal(0, spread, 3), 0, 1).astype(np.float32)


def pick(rng: np.random.Generator, *, among: tuple[str, ...] = NAMES) -> str:
    """A colour name."""
    return str(rng.choice(among))


def pick_two(rng: np.random.Generator, *, among: tuple[str, ...] = NAMES) -> tuple[str, str]:
    """Two colour names that differ to the eye, for scenes that name both."""
    while True:
        first, second = pick(rng, among=among), pick(rng, among=among)
        if np.abs(named(first) - named(second)).sum() > 0.5:
            return first, second
