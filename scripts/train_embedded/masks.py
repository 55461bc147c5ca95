"""What is kept of a training picture: the product, a random part of it, or nothing at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def random_alpha(
    alpha: NDArray[np.uint8], rng: np.random.Generator, *, has_product: bool
) -> NDArray[np.uint8]:
    """The alpha a picture is trained with; 255 is kept, below it is repainted.

    Nine in ten pictures with a product keep just the product, as customers' jobs do. A picture
    without one keeps nothing (the model paints the whole frame) or a random part (it goes on from
    what is there).

    Args:
        alpha: (H, W) of the product.
        rng: draws kind and place of the mask.
        has_product: whether there is one.

    Returns:
        (H, W) uint8.
    """
    draw = rng.random()
    if has_product:
        return alpha if draw < 0.9 else np.maximum(alpha, _part(alpha.shape, rng))
    return np.zeros_like(alpha) if draw < 0.5 else _part(alpha.shape, rng)


def _part(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A box, an ellipse, one side of the picture, or all but a box: 255 inside."""
    height, width = shape
    y, x = np.mgrid[0:height, 0:width]
    center_y, center_x = rng.uniform(0.1, 0.9, 2) * (height, width)
    radius_y, radius_x = rng.uniform(0.08, 0.35, 2) * (height, width)
    across, down = abs(x - center_x) / radius_x, abs(y - center_y) / radius_y
    match rng.integers(4):
        case 0:
            inside = np.maximum(across, down) < 1
        case 1:
            inside = across**2 + down**2 < 1
        case 2:
            angle = rng.uniform(0, 2 * np.pi)
            inside = (x - center_x) * np.cos(angle) + (y - center_y) * np.sin(angle) > 0
        case _:
            inside = np.maximum(across, down) > 1.2
    return np.where(inside, 255, 0).astype(np.uint8)
