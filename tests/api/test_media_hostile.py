from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from api.media import DecodedImage
from engine.errors import BadImage
from tests.api.image_files import MAX_PIXELS, SWAPPED, foreground, reference, saved
from tests.png_writer import SIGNATURE, chunk, header


@pytest.mark.parametrize("decode", [foreground, reference])
def test_a_png_bomb_is_refused_by_its_declared_size(decode):
    rows = zlib.compress(bytes(10_000_000))
    data = SIGNATURE + header(50_000, 50_000) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    with pytest.raises(BadImage, match="50000x50000 is above the limit"):
        decode(data)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_a_reference_above_the_pixel_limit_is_refused_before_decoding(format_):
    data = saved(Image.new("RGB", (1001, 1000)), format_)
    with pytest.raises(BadImage, match="above the limit"):
        reference(data)
    cut_off = data[: len(data) // 2] if format_ == "JPEG" else data
    with pytest.raises(BadImage, match="above the limit"):
        reference(cut_off)


def test_the_pixel_limit_itself_is_allowed():
    assert reference(saved(Image.new("RGB", (1000, 1000)), "PNG")).image.size == (1000, 1000)


def test_a_jpeg_of_endless_scans_is_refused():
    data = saved(Image.new("L", (64, 64), 100), "JPEG", progressive=True)
    assert reference(data).image.size == (64, 64)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(BadImage, match="scans"):
        reference(data[:-2] + last_scan * 100 + data[-2:])


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_reference_is_refused(format_):
    rng = np.random.default_rng(0)
    data = saved(Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)), format_)
    for share in (0.01, 0.3, 0.6, 0.9):
        with pytest.raises(BadImage):
            reference(data[: int(len(data) * share)])


@pytest.mark.parametrize("decode", [foreground, reference])
def test_too_little_memory_is_not_called_a_bad_image(decode, monkeypatch):
    def exhaust(*_, **__):
        raise MemoryError

    monkeypatch.setattr("api.media.read_png", exhaust)
    with pytest.raises(MemoryError):
        decode(saved(Image.new("RGBA", (8, 8)), "PNG"))


def _victims():
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (9, 12, 4), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"icc_profile": SWAPPED, "exif": exif.tobytes()}
    return [
        saved(image, "PNG", **options),
        saved(image.convert("RGB"), "JPEG", **options),
        saved(image.convert("RGB"), "JPEG", progressive=True),
        saved(image, "WEBP", **options),
        saved(image, "WEBP", lossless=True),
    ]


def decodes_or_refuses(data):
    for decode, mode in ((foreground, "RGBA"), (reference, "RGB")):
        try:
            decoded = decode(data)
        except BadImage:
            continue
        assert isinstance(decoded, DecodedImage)
        assert decoded.image.mode == mode
        assert decoded.image.width * decoded.image.height <= MAX_PIXELS
        assert not decoded.image.info
        decoded.image.tobytes()


@pytest.mark.parametrize("data", _victims())
def test_nothing_of_the_file_is_left_in_info(data):
    assert not reference(data).image.info
    if data.startswith(SIGNATURE):
        assert not foreground(data).image.info


@settings(deadline=None)
@given(
    st.sampled_from(_victims()),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
)
def test_a_garbled_file_is_decoded_or_refused_and_nothing_else(data, changes, kept):
    garbled = bytearray(data[: max(1, round(len(data) * kept))])
    for place, value in changes:
        garbled[round(place * (len(garbled) - 1))] = value
    decodes_or_refuses(bytes(garbled))


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    kind=st.tuples(st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([0, 2, 3, 4, 6])),
    interlaced=st.booleans(),
    side_chunks=st.lists(
        st.tuples(
            st.sampled_from([b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"IHDR", b"acTL", b"zTXt"]),
            st.binary(max_size=40),
        ),
        max_size=4,
    ),
    lines=st.binary(max_size=400),
)
def test_a_png_of_random_parts_is_decoded_or_refused_and_nothing_else(
    size, kind, interlaced, side_chunks, lines
):
    decodes_or_refuses(
        SIGNATURE
        + header(*size, *kind, int(interlaced))
        + b"".join(chunk(*part) for part in side_chunks)
        + chunk(b"IDAT", zlib.compress(lines * 20))
        + chunk(b"IEND", b"")
    )
