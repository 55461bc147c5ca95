"""Price of a task in points (protocol sections 8 and 10)."""

from __future__ import annotations

import math
from fractions import Fraction

DEEP_FUSION_POINTS_PER_MEGAPIXEL_STEP = 6


def points_of(
    *,
    width_px: int,
    height_px: int,
    num_inference_steps: int,
    num_images: int,
    base_points_per_megapixel_step: float,
    deep_fusion: bool,
) -> int:
    """Million pixels x steps x images x (base + 6 with deep fusion), rounded up.

    Fractions, since 0.1 + 0.2 style errors would round some exact prices up by one.
    """
    # repr gives the decimal number an operator wrote; the float itself lies next to it.
    rate = Fraction(repr(base_points_per_megapixel_step))
    if deep_fusion:
        rate += DEEP_FUSION_POINTS_PER_MEGAPIXEL_STEP
    megapixels = Fraction(width_px * height_px, 1_000_000)
    return math.ceil(megapixels * num_inference_steps * num_images * rate)
