from __future__ import annotations

import base64
import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from api.media import image_bytes
from engine.errors import BadImage
from tests.api.image_files import (
    SWAPPED,
    foreground,
    iccp,
    reference,
    rgba_png,
    rgba_samples,
    saved,
)
from tests.icc_profiles import cmyk_profile, grey_profile, one_way_rgb_profile
from tests.png_writer import write_png

# Base64


@pytest.mark.parametrize("form", ["{}", "data:image/png;base64,{}", "DATA:;x=y;BASE64,{}"])
def test_plain_base64_and_data_urls_give_the_same_bytes(form):
    data = bytes(range(256))
    assert image_bytes(form.format(base64.b64encode(data).decode())) == data
    assert image_bytes(form.format(" \n" + base64.encodebytes(data).decode() + "\t\r\n")) == data


@pytest.mark.parametrize(
    "text",
    ["", " ", "QUJ", "QUJD!", "QUJD=QUJD", "QU-_", "Ä", "data:", "data:,QUJD", "data:image/png,QUJD",
     "data:image/png;base64,", "data:image/png;base64;x,QUJD", "data:image/png;base64,data:,QUJD"],
)  # fmt: skip
def test_anything_else_is_refused_as_base64(text):
    with pytest.raises(BadImage) as caught:
        image_bytes(text, field="ImageList[1]")
    assert caught.value.field == "ImageList[1]"


@given(st.text(max_size=200))
def test_any_text_is_bytes_or_a_bad_image(text):
    with contextlib.suppress(BadImage):
        assert image_bytes(text)


# foregrounds


def test_a_foreground_keeps_its_bytes():
    decoded = foreground(rgba_png())
    assert decoded.image.mode == "RGBA"
    assert decoded.icc_profile is None
    assert np.array_equal(np.asarray(decoded.image), rgba_samples())


@pytest.mark.parametrize(
    ("depth", "color_type", "extra"),
    [
        pytest.param(8, 2, [], id="no alpha channel"),
        pytest.param(8, 2, [(b"tRNS", b"\0\1\0\2\0\3")], id="key no pixel has"),
        pytest.param(16, 2, [(b"tRNS", b"\xff\xfe\xff\xff\xff\xff")], id="16-bit key no pixel has"),
        pytest.param(8, 6, [], id="alpha all 255"),
        pytest.param(16, 4, [], id="16-bit alpha all 65535"),
    ],
)
def test_a_foreground_without_any_transparency_is_refused(depth, color_type, extra):
    channels = {2: 3, 4: 2, 6: 4}[color_type]
    samples = np.full((2, 2, channels), 2**depth - 1)
    data = write_png(samples, depth=depth, color_type=color_type, before_data=extra)
    with pytest.raises(BadImage, match="transparent") as caught:
        foreground(data)
    assert caught.value.field == "foreground"


def test_a_foreground_must_be_a_png():
    image = Image.new("RGBA", (8, 8), (1, 2, 3, 4))
    for data in (saved(image, "WEBP", lossless=True), saved(image.convert("RGB"), "JPEG"),
                 saved(image, "TIFF"), b"", b"text"):  # fmt: skip
        with pytest.raises(BadImage, match="must be a PNG"):
            foreground(data)


def test_of_an_animated_foreground_the_still_picture_is_taken():
    frames = [Image.new("RGBA", (4, 4), (i, 0, 0, 100)) for i in (10, 20, 30)]
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert b"acTL" in data
    assert foreground(data).image.getpixel((0, 0)) == (10, 0, 0, 100)


@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = exif.tobytes()[6:]
    upright = Image.fromarray(rgba_samples().astype(np.uint8))
    upright.getexif()[0x0112] = orientation
    if 1 <= orientation <= 8:  # Pillow's own answer
        upright = ImageOps.exif_transpose(upright)
    decoded = foreground(rgba_png([(b"eXIf", body)])).image
    assert decoded.size == upright.size
    assert decoded.tobytes() == upright.tobytes()
    jpeg = saved(Image.new("RGB", (30, 20)), "JPEG", exif=exif.tobytes())
    assert reference(jpeg).image.size == ((20, 30) if 5 <= orientation <= 8 else (30, 20))


def test_an_rgb_profile_stays_with_the_foreground_and_its_bytes_stay_as_they_are():
    decoded = foreground(rgba_png([iccp(SWAPPED)]))
    assert decoded.icc_profile == SWAPPED
    assert np.array_equal(np.asarray(decoded.image), rgba_samples())


@pytest.mark.parametrize(
    "profile", [b"", b"garbage", SWAPPED[:200], cmyk_profile(), grey_profile(gamma=1.0)]
)
def test_a_broken_profile_or_one_of_another_colour_model_is_dropped(profile):
    decoded = foreground(rgba_png([iccp(profile)]))
    assert decoded.icc_profile is None
    assert np.array_equal(np.asarray(decoded.image), rgba_samples())


def test_a_grey_profile_is_applied_to_a_grey_foreground():
    samples = np.array([[[64, 0], [128, 100], [255, 255]]])
    data = write_png(samples, depth=8, color_type=4, before_data=[iccp(grey_profile(gamma=1.0))])
    decoded = foreground(data)
    assert decoded.icc_profile is None
    rgba = np.asarray(decoded.image)[0]
    linear = np.array([64, 128, 255]) / 255
    srgb = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(rgba[:, :3] - srgb[:, None]).max() <= 1.5
    assert rgba[:, 3].tolist() == [0, 100, 255]


def test_a_profile_that_leads_only_one_way_is_applied():
    samples = np.array([[[255, 0, 0, 0], [0, 255, 255, 255]]])
    data = write_png(samples, depth=8, color_type=6, before_data=[iccp(one_way_rgb_profile())])
    decoded = foreground(data)
    assert decoded.icc_profile is None
    white, black = np.asarray(decoded.image)[0].astype(int)
    assert white[:3].min() > 250
    assert black[:3].max() < 5
    assert (white[3], black[3]) == (0, 255)


def test_srgb_written_by_pillow_is_a_working_profile():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert foreground(rgba_png([iccp(srgb)])).icc_profile == srgb


# references


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_references_of_three_formats_are_read_as_rgb(format_, mode):
    data = saved(Image.new("RGB", (17, 9), (200, 100, 50)).convert(mode), format_)
    decoded = reference(data)
    assert decoded.image.mode == "RGB"
    assert decoded.image.size == (17, 9)
    expected = (200, 100, 50) if mode == "RGB" else (124, 124, 124)
    assert np.abs(np.subtract(decoded.image.getpixel((8, 4)), expected)).max() <= 4


@pytest.mark.parametrize("format_", ["GIF", "BMP", "TIFF", "PPM", "ICO", "TGA"])
def test_other_formats_are_refused(format_):
    with pytest.raises(BadImage, match="PNG, JPEG or WebP"):
        reference(saved(Image.new("RGB", (16, 16)), format_))


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_a_transparent_reference_lies_on_white(format_):
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 128))
    image.putpixel((2, 0), (0, 0, 0, 255))
    decoded = reference(saved(image, format_, lossless=True, exact=True)).image
    assert [decoded.getpixel((x, 0)) for x in range(3)] == [(255,) * 3, (127,) * 3, (0,) * 3]


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_the_profile_of_a_reference_is_applied(format_):
    data = saved(Image.new("RGB", (16, 16), (255, 0, 0)), format_, icc_profile=SWAPPED)
    decoded = reference(data)
    assert decoded.icc_profile is None
    red, green, blue = decoded.image.getpixel((8, 8))
    assert blue > 240
    assert red < 20
    assert green < 20


def test_a_cmyk_reference_is_converted_with_and_without_its_profile():
    inks = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert reference(saved(inks, "JPEG")).image.getpixel((8, 8)) == pytest.approx(
        (0, 255, 255), abs=3
    )
    with_profile = saved(inks, "JPEG", icc_profile=cmyk_profile())  # which gives cyan no effect
    assert min(reference(with_profile).image.getpixel((8, 8))) > 250


def test_of_an_animated_reference_the_first_frame_is_taken():
    frames = [Image.new("RGB", (8, 8), (i, i, i)) for i in (10, 90, 170)]
    data = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert reference(data).image.getpixel((0, 0)) == (10, 10, 10)
