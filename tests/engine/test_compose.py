from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from engine.compose import bleed, compose, masked_image

RED, BLUE = (200, 30, 20), (10, 40, 220)


def subject(size=(40, 30), box=(10, 10, 30, 20), color=RED, hidden=(0, 255, 0)):
    """An opaque rectangle; what is transparent hides another colour."""
    image = Image.new("RGBA", size, (*hidden, 0))
    image.paste((*color, 255), box)
    return image


# what the model sees


def test_the_masked_image_shows_the_subject_and_exact_grey():
    image = masked_image(subject())
    assert image.dtype == np.float32
    assert image.shape == (30, 40, 3)
    assert np.allclose(image[15, 20], np.array(RED) / 127.5 - 1, atol=1e-6)
    assert not image[:10].any()
    assert not image[:, :10].any()


def test_the_masked_image_cuts_at_half_alpha_and_keeps_straight_colour():
    pixels = np.array([[[255, 0, 128, 127], [255, 0, 128, 128], [255, 0, 128, 255]]], np.uint8)
    image = masked_image(Image.fromarray(pixels))
    assert image[0, 0].tolist() == [0, 0, 0]
    assert image[0, 1].tolist() == image[0, 2].tolist()
    assert image[0, 1, :2].tolist() == [1, -1]


# bleed


@pytest.mark.parametrize("size", [(40, 30), (41, 33), (64, 64), (1500, 1001), (2560, 64)])
def test_the_bleed_of_one_colour_is_that_colour_everywhere(size):
    bled = bleed(subject(size, (10, 10, 30, 20)))
    assert bled.mode == "RGB"
    assert bled.size == size
    assert np.abs(np.asarray(bled).astype(int) - RED).max() <= 1


@pytest.mark.parametrize("size", [(40, 30), (2560, 2560)])
def test_the_bleed_keeps_the_subject_and_ignores_what_transparency_hides(size):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 100, (size[1], size[0], 4), dtype=np.uint8)
    pixels[..., 3] = 127
    pixels[..., 0] = 255
    box = (slice(size[1] // 3, size[1] // 2), slice(size[0] // 3, size[0] // 2))
    pixels[box] = rng.integers(0, 100, pixels[box].shape, dtype=np.uint8)
    pixels[(*box, 3)] = 128
    bled = np.asarray(bleed(Image.fromarray(pixels)))
    assert np.array_equal(bled[box], pixels[(*box, slice(3))])
    assert bled[..., 0].max() < 101


def test_the_bleed_takes_the_nearest_colour():
    image = subject((200, 60), (50, 20, 80, 40), RED)
    image.paste((*BLUE, 255), (120, 20, 150, 40))
    bled = np.asarray(bleed(image)).astype(int)
    assert np.abs(bled[:, :45] - RED).max() <= 1
    assert np.abs(bled[:, 155:] - BLUE).max() <= 1
    assert np.abs(bled[30, 81:85] - RED).max() <= 1


def test_the_bleed_of_nothing_is_mid_grey():
    assert bleed(Image.new("RGBA", (5, 4), (255, 0, 0, 127))).getcolors() == [(20, (128,) * 3)]


# the final composite


@pytest.mark.parametrize("background", [0, 1, 77, 128, 254, 255])
def test_every_alpha_and_colour_is_blended_to_the_nearest_value(background):
    alpha, color = np.mgrid[:256, :256]
    foreground = Image.fromarray(np.dstack([color, color, 255 - color, alpha]).astype(np.uint8))
    out = np.asarray(compose(foreground, Image.new("RGB", (256, 256), (background,) * 3)))
    a = alpha / 255
    for channel, value in ((0, color), (1, color), (2, 255 - color)):
        exact = value * a + background * (1 - a)
        assert np.abs(out[..., channel] - exact).max() <= 0.5 + 1e-9


def test_opaque_pixels_are_the_foregrounds_and_transparent_ones_the_backgrounds():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (50, 60, 4), dtype=np.uint8)
    pixels[..., 3] = rng.choice([0, 255], (50, 60))
    background = rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)
    out = np.asarray(compose(Image.fromarray(pixels), Image.fromarray(background)))
    opaque = pixels[..., 3:] == 255
    assert np.array_equal(out, np.where(opaque, pixels[..., :3], background))


def test_a_composite_needs_equal_sizes():
    with pytest.raises(AssertionError):
        compose(Image.new("RGBA", (4, 4)), Image.new("RGB", (4, 5)))
