from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from engine.color import foreground_to_srgb, is_working_profile, srgb_to_profile, to_srgb
from engine.errors import BadImage
from tests.icc_profiles import (
    BLUE,
    GREEN,
    RED,
    cmyk_profile,
    device_link_profile,
    grey_profile,
    one_way_rgb_profile,
    rgb_profile,
)

SWAPPED = rgb_profile(primaries=(BLUE, GREEN, RED))
UNUSABLE = [
    b"",
    b"garbage",
    SWAPPED[:200],
    cmyk_profile(),
    grey_profile(gamma=2.2),
    device_link_profile(),
]


def random_image(mode, channels):
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (20, 30, channels), dtype=np.uint8), mode)


def test_no_profile_means_srgb_and_changes_nothing():
    foreground, background = random_image("RGBA", 4), random_image("RGB", 3)
    assert foreground_to_srgb(foreground, None) is foreground
    assert srgb_to_profile(background, None) is background
    assert to_srgb(background, None).tobytes() == background.tobytes()


def test_the_foreground_is_converted_and_its_alpha_untouched():
    foreground = random_image("RGBA", 4)
    foreground.putpixel((0, 0), (255, 0, 0, 0))
    converted = foreground_to_srgb(foreground, SWAPPED)
    assert converted.mode == "RGBA"
    assert converted.getchannel("A").tobytes() == foreground.getchannel("A").tobytes()
    assert converted.getpixel((0, 0)) == pytest.approx((0, 0, 255, 0), abs=16)


def test_there_and_back_is_nearly_the_same():
    ramp = np.linspace(0, 255, 256).astype(np.uint8)
    image = Image.fromarray(np.dstack([ramp[None], ramp[None, ::-1], ramp[None] // 2]))
    there = srgb_to_profile(image, SWAPPED)
    back = np.asarray(to_srgb(there, SWAPPED)).astype(int)
    assert np.abs(np.asarray(there).astype(int) - np.asarray(image)).max() > 50
    # sRGB is steepest, and a step of a plain gamma thus widest, in the darks
    assert np.abs(back - np.asarray(image)).max() <= 12
    assert np.abs(back - np.asarray(image)).mean() <= 1


@pytest.mark.parametrize("convert", [srgb_to_profile, to_srgb])
def test_black_stays_black_and_white_white(convert):
    image = Image.new("RGB", (2, 1))
    image.putpixel((1, 0), (255, 255, 255))
    converted = convert(image, SWAPPED)
    assert converted.getpixel((0, 0)) == pytest.approx((0, 0, 0), abs=1)
    assert converted.getpixel((1, 0)) == pytest.approx((255, 255, 255), abs=1)


def test_white_is_relative_to_the_profiles_own():
    yellowish = rgb_profile(white=(0.93, 1.0, 0.5))
    white = Image.new("RGB", (1, 1), (255, 255, 255))
    assert to_srgb(white, yellowish).getpixel((0, 0)) == pytest.approx((255, 255, 255), abs=1)


def test_a_grey_black_point_is_stretched_to_black():
    profile = one_way_rgb_profile(black=0.2)
    assert to_srgb(Image.new("RGB", (1, 1)), profile).getpixel((0, 0)) == pytest.approx(
        (0,) * 3, abs=2
    )


def test_a_conversion_leaves_no_profile_behind_in_info():
    for converted in (
        foreground_to_srgb(random_image("RGBA", 4), SWAPPED),
        srgb_to_profile(random_image("RGB", 3), SWAPPED),
        to_srgb(random_image("RGB", 3), SWAPPED),
    ):
        assert not converted.info


@pytest.mark.parametrize("profile", UNUSABLE)
def test_an_unusable_profile_is_refused_for_a_foreground_and_ignored_for_a_reference(profile):
    assert not is_working_profile(profile)
    for convert, image in (
        (foreground_to_srgb, random_image("RGBA", 4)),
        (srgb_to_profile, random_image("RGB", 3)),
    ):
        with pytest.raises(BadImage) as caught:
            convert(image, profile)
        assert caught.value.field == "icc_profile"
    reference = random_image("RGB", 3)
    assert to_srgb(reference, profile).tobytes() == reference.tobytes()


def test_a_one_way_profile_can_be_read_from_but_not_worked_in():
    profile = one_way_rgb_profile()
    assert not is_working_profile(profile)
    assert to_srgb(Image.new("RGB", (1, 1), (255, 0, 0)), profile).getpixel((0, 0))[1] > 250
    with pytest.raises(BadImage):
        srgb_to_profile(Image.new("RGB", (1, 1)), profile)


def test_grey_and_cmyk_are_converted_by_profiles_of_their_own_kind():
    grey = Image.new("L", (1, 1), 128)
    assert to_srgb(grey, None).getpixel((0, 0)) == (128, 128, 128)
    assert to_srgb(grey, SWAPPED).getpixel((0, 0)) == (128, 128, 128)
    assert to_srgb(grey, grey_profile(gamma=1)).getpixel((0, 0)) == pytest.approx((188,) * 3, abs=1)
    cyan = Image.new("CMYK", (1, 1), (255, 0, 0, 0))
    assert to_srgb(cyan, None).getpixel((0, 0)) == (0, 255, 255)
    assert min(to_srgb(cyan, cmyk_profile()).getpixel((0, 0))) > 250
