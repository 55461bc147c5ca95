from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.png import read_png
from api.png_encoder import png_file
from tests.api.image_files import MAX_PIXELS, SWAPPED

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def encode(pixels):
    return png_file(Image.fromarray(pixels), icc_profile=None, text=None)


def pillows(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def decoded(data):
    """By Pillow's decoder, and past our own checks of every chunk's checksum."""
    return np.asarray(read_png(data, max_pixels=MAX_PIXELS).color)


def filters(data, width):
    """The filter types of all rows, by the standard library's inflater."""
    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    scanlines = zlib.decompress(data[start + 4 : start + 4 + length])
    return scanlines[:: 1 + 3 * width]


@pytest.mark.parametrize("height", [1, 31, 32, 33, 64, 97])
@pytest.mark.parametrize("width", [1, 2, 5, 64, 101])
def test_every_size_keeps_its_pixels(width, height):
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    assert np.array_equal(decoded(encode(pixels)), pixels)


def averages():
    """Every pixel but those of two edges is the mean of its left and its upper neighbour."""
    picture = np.random.default_rng(0).integers(0, 256, (4, 512, 3))
    for y in range(1, 4):
        for x in range(1, 512):
            picture[y, x] = (picture[y, x - 1] + picture[y - 1, x]) // 2
    return picture.astype(np.uint8)


STEPS = np.arange(96, dtype=np.uint8) * np.uint8(89)


@pytest.mark.parametrize(
    ("filter_type", "picture"),
    [
        (1, np.tile(STEPS[:, None, None], (1, 96, 3))),
        (2, np.tile(STEPS[None, :, None], (96, 1, 3))),
        (3, averages()),
    ],
    ids=["rows of one colour each", "columns of one colour each", "averages"],
)
def test_each_filter_is_taken_where_it_fits_and_keeps_the_pixels(filter_type, picture):
    data = encode(picture)
    assert set(filters(data, width=picture.shape[1])[1:]) == {filter_type}
    assert np.array_equal(decoded(data), picture)


def test_differences_of_every_value_keep_the_pixels():
    row = np.concatenate([[value, 0] for value in range(256)]).astype(np.uint8)
    picture = np.ascontiguousarray(np.broadcast_to(row[None, :, None], (40, 512, 3)))
    assert np.array_equal(decoded(encode(picture)), picture)


@pytest.mark.parametrize("name", ["lake-pagoda.jpg", "rocket-dusk.jpg"])
def test_files_are_at_most_a_quarter_larger_than_pillows(name):
    with Image.open(EXAMPLES / name) as photo:
        image = photo.convert("RGB")
    data = png_file(image, icc_profile=None, text=None)
    assert len(data) <= 1.25 * len(pillows(image))
    assert decoded(data).tobytes() == image.tobytes()


def test_a_flat_picture_makes_a_tiny_file():
    image = Image.new("RGB", (512, 512), (250, 250, 250))
    data = png_file(image, icc_profile=None, text=None)
    assert len(data) < len(image.tobytes()) / 100


def test_the_same_picture_always_gives_the_same_file():
    image = Image.new("RGB", (33, 65), (1, 2, 3))
    files = {png_file(image, icc_profile=SWAPPED, text="blue sky") for _ in range(3)}
    assert len(files) == 1


@pytest.mark.parametrize("text", ["", "blue sky", "caf\xe9", "\u84dd\u5929"])
def test_profile_and_text_are_read_back_by_pillow(text):
    data = png_file(Image.new("RGB", (2, 2)), icc_profile=SWAPPED, text=text)
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        assert opened.info["icc_profile"] == SWAPPED
        assert opened.text == {"parameters": text}
