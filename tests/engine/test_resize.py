from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.job import ResizeMode
from engine.resize import pad_to_multiple, place, resize_foreground, resize_reference

JUST_RESIZE, CROP, FILL = ResizeMode
sides = st.integers(1, 40)


def random_image(mode, size, seed=0):
    channels = len(Image.new(mode, (1, 1)).getbands())
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(pixels, mode)


def by_definition(image, width, height, mode):
    """Resize everything, then paste: the canvas and where the content lies on it."""
    w, h = image.size
    if mode is JUST_RESIZE:
        cw, ch = width, height
    else:
        k = (max if mode is CROP else min)(width / w, height / h)
        cw, ch = max(1, round(w * k)), max(1, round(h * k))
    content = image.resize((cw, ch), Image.Resampling.BICUBIC)
    x, y = (width - cw) // 2, (height - ch) // 2
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(content, (x, y))
    return canvas, (max(x, 0), max(y, 0), min(x + cw, width), min(y + ch, height))


@settings(deadline=None)
@given(st.tuples(sides, sides), sides, sides, st.sampled_from(ResizeMode))
def test_foregrounds_follow_the_definition(source_size, width, height, mode):
    image = random_image("RGBA", source_size)
    resized = resize_foreground(image, width, height, mode)
    expected, _ = by_definition(image, width, height, mode)
    assert resized.size == (width, height)
    assert resized.tobytes() == expected.tobytes()


@settings(deadline=None)
@given(st.tuples(sides, sides), sides, sides, st.sampled_from(ResizeMode))
def test_references_follow_the_definition_and_fill_to_every_border(
    source_size, width, height, mode
):
    image = random_image("RGB", source_size)
    resized = np.asarray(resize_reference(image, width, height, mode))
    expected, (left, top, right, bottom) = by_definition(image, width, height, mode)
    inside = (slice(top, bottom), slice(left, right))
    assert np.array_equal(resized[inside], np.asarray(expected)[inside])
    rows = np.clip(np.arange(height), top, bottom - 1)
    columns = np.clip(np.arange(width), left, right - 1)
    assert np.array_equal(resized, resized[rows][:, columns])


@pytest.mark.parametrize("mode", ResizeMode)
def test_equal_size_is_a_byte_copy(mode):
    foreground, reference = random_image("RGBA", (33, 20)), random_image("RGB", (33, 20))
    assert resize_foreground(foreground, 33, 20, mode).tobytes() == foreground.tobytes()
    assert resize_reference(reference, 33, 20, mode).tobytes() == reference.tobytes()


@pytest.mark.parametrize(("width", "height"), [(33, 30), (33, 31), (50, 20), (51, 20)])
def test_content_of_its_own_size_keeps_its_bytes_on_any_margin(width, height):
    image = random_image("RGBA", (33, 20))
    resized = resize_foreground(image, width, height, FILL)
    x, y = (width - 33) // 2, (height - 20) // 2
    assert resized.crop((x, y, x + 33, y + 20)).tobytes() == image.tobytes()
    outside = np.array(resized)
    outside[y : y + 20, x : x + 33] = 0
    assert not outside.any()


@pytest.mark.parametrize(("width", "left"), [(30, 2), (31, 1), (32, 1), (33, 0)])
def test_content_of_its_own_size_keeps_its_bytes_under_a_crop(width, left, monkeypatch):
    image = random_image("RGBA", (33, 20))
    expected = image.crop((left, 0, left + width, 20)).tobytes()
    assert resize_foreground(image, width, 20, CROP).tobytes() == expected
    monkeypatch.setattr("engine.resize._MAX_WHOLE_CONTENT_PX", 0)  # however large it is
    assert resize_foreground(image, width, 20, CROP).tobytes() == expected


@given(
    st.tuples(st.integers(1, 65_535), st.integers(1, 65_535)),
    st.integers(64, 2560),
    st.integers(64, 2560),
)
def test_a_crop_leaves_no_gap_and_a_fit_nothing_outside(source_size, width, height):
    cover = place(source_size, width, height, CROP)
    assert cover.left_px <= 0 <= cover.left_px + cover.width_px - width
    assert cover.top_px <= 0 <= cover.top_px + cover.height_px - height
    fit = place(source_size, width, height, FILL)
    assert 0 <= fit.left_px <= width - fit.width_px - fit.left_px <= fit.left_px + 1
    assert 0 <= fit.top_px <= height - fit.height_px - fit.top_px <= fit.top_px + 1
    assert min(fit.width_px, fit.height_px) >= 1
    for placement in (cover, fit):
        assert placement.width_px == width or placement.height_px == height


@pytest.mark.parametrize("source_size", [(12, 32), (26, 29), (35, 40), (300, 7), (100, 1), (9, 8)])
@pytest.mark.parametrize("canvas", [(30, 12), (1, 32), (40, 26), (16, 17), (64, 64)])
def test_resizing_only_what_is_visible_gives_the_same(source_size, canvas, monkeypatch):
    monkeypatch.setattr("engine.resize._MAX_WHOLE_CONTENT_PX", 0)
    for mode in ResizeMode:
        image = random_image("RGBA", source_size)
        resized = resize_foreground(image, *canvas, mode).convert("RGBa")
        expected = by_definition(image, *canvas, mode)[0].convert("RGBa")
        # premultiplied, since rounding is amplified in colours of little alpha
        assert np.abs(np.subtract(resized, expected, dtype=int)).max() <= 3


@pytest.mark.parametrize("canvas", [(70, 70), (71, 1000), (640, 640)])
@pytest.mark.parametrize(("length", "thickness"), [(10_000, 10), (65_535, 1), (65_534, 10)])
@pytest.mark.parametrize("is_tall", [False, True])
def test_covering_with_a_needle_costs_no_more_than_its_visible_middle(
    canvas, length, thickness, is_tall
):
    """As a whole it would be up to 190 GB. Its middle alone, cut out by hand, gives the same."""
    needle = random_image("RGB", (length, thickness))
    middle_length = 600 + length % 2  # an even difference, so that both have the same centre
    start = (length - middle_length) // 2
    middle = needle.crop((start, 0, start + middle_length, thickness))
    if is_tall:
        needle, middle = (i.transpose(Image.Transpose.TRANSPOSE) for i in (needle, middle))
        canvas = canvas[::-1]
    resized = np.asarray(resize_reference(needle, *canvas, CROP)).astype(int)
    expected = np.asarray(resize_reference(middle, *canvas, CROP)).astype(int)
    assert np.abs(resized - expected).max() <= 1


@pytest.mark.parametrize("size", [(10_000, 10), (10, 10_000), (65_535, 1), (1, 1)])
def test_extreme_shapes_fit_with_at_least_one_pixel(size):
    resized = np.asarray(resize_foreground(Image.new("RGBA", size, "red"), 64, 64, FILL))
    rows, columns = (resized[..., 3] > 0).any(axis=1).sum(), (resized[..., 3] > 0).any(axis=0).sum()
    assert (columns, rows) == {1: (64, 64)}.get(
        max(size), (64, 1) if size[0] > size[1] else (1, 64)
    )


@settings(deadline=None)
@given(st.tuples(sides, sides), sides, sides, st.sampled_from(ResizeMode))
def test_an_opaque_source_stays_fully_opaque(source_size, width, height, mode):
    image = random_image("RGBA", source_size)
    image.putalpha(255)
    alpha = np.asarray(resize_foreground(image, width, height, mode).getchannel("A"))
    assert set(np.unique(alpha)) <= {0, 255}
    if mode is not FILL:
        assert alpha.min() == 255


def test_hidden_colours_do_not_leak_into_the_edge():
    image = Image.new("RGBA", (20, 20), (0, 255, 0, 0))
    image.paste((255, 0, 0, 255), (5, 5, 15, 15))
    resized = np.asarray(resize_foreground(image, 64, 64, JUST_RESIZE))
    assert resized[resized[..., 3] > 16][:, 1].max() == 0


@pytest.mark.parametrize("multiple", [1, 8, 64])
@pytest.mark.parametrize("size", [(64, 64), (65, 71), (1, 8)])
def test_padding_grows_right_and_down_only(size, multiple):
    for mode in ("RGB", "RGBA"):
        image = random_image(mode, size)
        padded = pad_to_multiple(image, multiple)
        assert padded.width % multiple == padded.height % multiple == 0
        assert (padded.width - size[0], padded.height - size[1]) < (multiple, multiple)
        assert padded.crop((0, 0, *size)).tobytes() == image.tobytes()
        pixels = np.asarray(padded)
        if mode == "RGBA":
            assert not pixels[size[1] :].any()
            assert not pixels[:, size[0] :].any()
        else:
            assert (pixels[:, size[0] :] == pixels[:, size[0] - 1 : size[0]]).all()
            assert (pixels[size[1] :] == pixels[size[1] - 1]).all()
