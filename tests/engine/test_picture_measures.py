"""Numbers about constructed pictures whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from engine.picture_measures import (
    background_of,
    lab,
    mean_delta_e,
    measure_picture,
    palette_distance,
    seam_gradients,
    sharpness,
)

SIDE_PX = 128
RED, BLUE = (200, 30, 30), (40, 90, 200)


def disc(radius_px: float) -> np.ndarray:
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    return np.hypot(x - 64, y - 64) <= radius_px


def picture(background: tuple[int, int, int] = BLUE) -> tuple[np.ndarray, np.ndarray]:
    """A red disc before a plain background, and its alpha."""
    image = np.broadcast_to(np.array(background, np.uint8), (SIDE_PX, SIDE_PX, 3)).copy()
    image[disc(24)] = RED
    return image, np.where(disc(24), 255, 0).astype(np.uint8)


def plain(*rgb: int) -> np.ndarray:
    return np.broadcast_to(np.array(rgb, np.uint8), (SIDE_PX, SIDE_PX, 3))


EVERYWHERE = np.ones((SIDE_PX, SIDE_PX), bool)


# Seam --------------------------------------------------------------------------------------------


def test_a_plain_background_has_no_seam() -> None:
    assert seam_gradients(*picture()) == (0, 0)


def test_a_step_beside_the_outline_is_a_seam() -> None:
    image, alpha = picture()
    image[disc(28) & ~disc(24)] = (60, 110, 220)
    gradients = seam_gradients(image, alpha)
    assert gradients is not None
    near, far = gradients
    assert near > 0.005
    assert far == 0


def test_the_products_own_edge_is_no_seam() -> None:
    image, alpha = picture(background=(255, 255, 255))
    assert seam_gradients(image, alpha) == (0, 0)


# Colours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((119, 119, 119), (50.0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_known_colors_in_lab(rgb, expected):
    np.testing.assert_allclose(lab(np.array([[rgb]], np.uint8))[0, 0], expected, atol=0.06)


def test_a_palette_does_not_depend_on_where_its_colors_lie():
    image = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    shuffled = np.random.default_rng(1).permutation(image.reshape(-1, 3)).reshape(image.shape)
    assert palette_distance(image, EVERYWHERE, shuffled) == pytest.approx(0, abs=1e-9)


def test_of_two_flat_colors_it_is_half_their_distance():
    """Along a random direction a way of length 1 is half as long on average."""
    for color in ((255, 255, 255), (255, 0, 0), (0, 90, 200)):
        apart = np.linalg.norm(lab(plain(*color)) - lab(plain(119, 119, 119)), axis=-1).mean()
        distance = palette_distance(plain(119, 119, 119), EVERYWHERE, plain(*color))
        assert distance == pytest.approx(apart / 2, rel=0.03)


def test_a_palette_grows_apart_as_colors_do():
    steps = [
        palette_distance(plain(200 - by, 120, 60 + by), EVERYWHERE, plain(200, 120, 60))
        for by in (0, 20, 60, 120)
    ]
    assert steps == sorted(steps)
    assert steps[0] == 0 < steps[1]


def test_only_colors_that_are_inside_count():
    image = plain(10, 200, 30).copy()
    image[:20] = (255, 0, 255)
    inside = EVERYWHERE.copy()
    inside[:20] = False
    for distance in (palette_distance, mean_delta_e):
        assert distance(image, inside, plain(10, 200, 30)) == pytest.approx(0, abs=1e-9)
        assert distance(image, EVERYWHERE, plain(10, 200, 30)) > 1


def test_delta_e_is_the_distance_of_colors_at_the_same_place():
    half = plain(0, 0, 0).copy()
    half[: SIDE_PX // 2] = 255
    assert mean_delta_e(half, EVERYWHERE, plain(0, 0, 0)) == pytest.approx(50, abs=0.01)
    assert mean_delta_e(half, EVERYWHERE, half[::-1]) == pytest.approx(100, abs=0.01)
    assert palette_distance(half, EVERYWHERE, half[::-1]) == pytest.approx(0, abs=1e-9)


def test_the_background_ends_before_the_soft_edge():
    alpha = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    alpha[40:60, 40:60] = 200
    background = background_of(alpha)
    assert not background[38:62, 40:60].any()
    assert background[37, 50]
    assert background[0, 0]


# Sharpness ---------------------------------------------------------------------------------------


def test_a_plain_picture_and_an_even_ramp_have_no_sharpness():
    ramp = np.repeat(np.arange(SIDE_PX, dtype=np.uint8)[None, :, None], 3, axis=2)
    ramp = np.broadcast_to(ramp, (SIDE_PX, SIDE_PX, 3))
    inner = np.zeros((SIDE_PX, SIDE_PX), bool)
    inner[1:-1, 1:-1] = True
    assert sharpness(plain(90, 40, 200), EVERYWHERE) == pytest.approx(0, abs=1e-9)
    assert sharpness(ramp, inner) == pytest.approx(0, abs=1e-9)


def test_sharpness_of_a_checkerboard_is_known():
    """Each pixel differs from its four neighbours by 10, so the Laplacian is +-40."""
    board = 100 + 10 * (np.indices((SIDE_PX, SIDE_PX)).sum(0) % 2)
    image = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    inner = np.zeros((SIDE_PX, SIDE_PX), bool)
    inner[1:-1, 1:-1] = True
    assert sharpness(image, inner) == pytest.approx(1600)


# All of them -------------------------------------------------------------------------------------


def test_a_picture_equal_to_its_reference_is_no_way_from_it() -> None:
    image, alpha = picture()
    measures = measure_picture(image, alpha, image)
    assert measures.delta_e == 0
    assert (measures.sharpness, measures.seam_gradient, measures.far_gradient) == (0, 0, 0)


def test_the_product_itself_is_not_measured() -> None:
    image, alpha = picture()
    other = image.copy()
    other[disc(24)] = np.random.default_rng(0).integers(0, 256, (int(disc(24).sum()), 3))
    assert measure_picture(other, alpha, image) == measure_picture(image, alpha, image)


def test_without_reference_or_background_there_is_nothing_to_compare() -> None:
    image, alpha = picture()
    assert measure_picture(image, alpha, None).delta_e is None
    everything = np.full_like(alpha, 255)
    measures = measure_picture(image, everything, image)
    assert (measures.sharpness, measures.delta_e, measures.seam_gradient) == (None, None, None)
