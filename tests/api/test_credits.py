from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.credits import points_of


def points(
    width: int, height: int, steps: int, images: int, base: float, *, deep_fusion: bool = False
) -> int:
    return points_of(
        width_px=width,
        height_px=height,
        num_inference_steps=steps,
        num_images=images,
        base_points_per_megapixel_step=base,
        deep_fusion=deep_fusion,
    )


@pytest.mark.parametrize(
    ("arguments", "deep_fusion", "expected"),
    [
        ((1000, 1000, 10, 1, 1.0), False, 10),
        ((1000, 1000, 10, 1, 1.0), True, 70),
        ((1024, 1024, 10, 1, 1.0), False, 11),  # 10.48576
        ((1024, 1024, 10, 4, 1.0), False, 42),  # 41.94304
        ((64, 64, 6, 1, 1.0), False, 1),
        ((1000, 1000, 10, 3, 0.1), False, 3),  # 0.1 * 30 is 3.0000000000000004 in floats
        ((1000, 1000, 7, 1, 1.1), False, 8),  # 7.7
        ((1000, 1000, 100, 1, 1.1), False, 110),  # 110.00000000000001 in floats
        ((1000, 1000, 10, 1, 0.0), False, 0),
        ((1000, 1000, 10, 1, 0.0), True, 60),
        ((1000, 1000, 10, 1, 1e-7), False, 1),
        ((2560, 2560, 100, 16, 1.0), True, 73401),  # 73400.32
    ],
)
def test_worked_prices(arguments: tuple[int, int, int, int, float], deep_fusion, expected):
    assert points(*arguments, deep_fusion=deep_fusion) == expected


sides = st.integers(64, 2560)
cents = st.integers(0, 1000)


@given(sides, sides, st.integers(6, 100), st.integers(1, 16), cents, st.booleans())
def test_a_price_is_the_exact_one_rounded_up(width, height, steps, images, cent, deep_fusion):
    rate = Fraction(cent, 100) + (6 if deep_fusion else 0)
    exact = Fraction(width * height, 10**6) * steps * images * rate
    price = points(width, height, steps, images, cent / 100, deep_fusion=deep_fusion)
    assert exact <= price < exact + 1
