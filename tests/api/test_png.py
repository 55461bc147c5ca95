from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from api.png import MAX_ICC_BYTES, Unusable, read_png
from tests.png_writer import CHANNELS, SIGNATURE, chunk, header, write_png

MAX_PIXELS = 1_000_000
SIZES = [(1, 1), (3, 2), (13, 11)]
VARIETIES = [
    (depth, color_type)
    for color_type, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 4: (8, 16), 6: (8, 16)}.items()
    for depth in depths
]


def random_samples(width, height, depth, color_type):
    rng = np.random.default_rng([width, height, depth, color_type])
    shape = (height, width, CHANNELS[color_type])
    return rng.integers(0, 2**depth, shape, dtype=np.int64)


def to_8_bit(samples, depth):
    return samples >> 8 if depth == 16 else samples * 255 // (2**depth - 1)


def rgba_of(data):
    pixels = read_png(data, max_pixels=MAX_PIXELS)
    color = np.asarray(pixels.color.convert("RGB"))
    opaque = np.full(color.shape[:2], 255, np.uint8)
    alpha = opaque if pixels.alpha is None else np.asarray(pixels.alpha)
    return np.dstack([color, alpha])


def expected_rgba(samples, depth, color_type, transparent=None):
    """What the specification says, with the transparency key compared before any reduction."""
    has_alpha = color_type in (4, 6)
    color = to_8_bit(samples[..., :-1] if has_alpha else samples, depth)
    color = np.broadcast_to(color, (*color.shape[:2], 3))
    if has_alpha:
        alpha = to_8_bit(samples[..., -1], depth)
    elif transparent is None:
        alpha = np.full(samples.shape[:2], 255)
    else:
        alpha = np.where((samples == transparent).all(axis=2), 0, 255)
    return np.dstack([color, alpha])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("depth", "color_type"), VARIETIES)
def test_every_bit_depth_and_colour_type_is_read(depth, color_type, interlaced, size):
    samples = random_samples(*size, depth, color_type)
    data = write_png(samples, depth=depth, color_type=color_type, interlaced=interlaced)
    assert np.array_equal(rgba_of(data), expected_rgba(samples, depth, color_type))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("depth", "color_type"), [v for v in VARIETIES if v[1] in (0, 2)])
def test_the_transparency_key_is_compared_with_the_samples_as_stored(depth, color_type, interlaced):
    samples = random_samples(13, 11, depth, color_type)
    key = samples[5, 5]
    data = write_png(
        samples,
        depth=depth,
        color_type=color_type,
        interlaced=interlaced,
        before_data=[(b"tRNS", key.astype(">u2").tobytes())],
    )
    rgba = rgba_of(data)
    assert rgba[5, 5, 3] == 0
    assert np.array_equal(rgba, expected_rgba(samples, depth, color_type, key))


@pytest.mark.parametrize("color_type", [0, 2])
def test_a_16_bit_pixel_off_the_key_by_its_low_byte_stays_opaque(color_type):
    key = np.array([0x1234, 0x5678, 0x9ABC][: CHANNELS[color_type]])
    samples = np.stack([key, key ^ 1, key ^ 0x100])[None]
    data = write_png(
        samples,
        depth=16,
        color_type=color_type,
        before_data=[(b"tRNS", key.astype(">u2").tobytes())],
    )
    assert rgba_of(data)[0, :, 3].tolist() == [0, 255, 255]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("alphas", [(0,), (255, 0), (0, 255), (10, 200, 77, 255, 0)])
def test_palette_transparency_is_taken_entry_by_entry(depth, interlaced, alphas):
    entries = 2**depth
    alphas = alphas[:entries]
    palette = np.random.default_rng(depth).integers(0, 256, (entries, 3), dtype=np.uint8)
    samples = random_samples(13, 11, depth, 3)
    data = write_png(
        samples,
        depth=depth,
        color_type=3,
        interlaced=interlaced,
        before_data=[(b"PLTE", palette.tobytes()), (b"tRNS", bytes(alphas))],
    )
    of_entry = np.full(entries, 255)
    of_entry[: len(alphas)] = alphas
    expected = np.dstack([palette[samples[..., 0]], of_entry[samples[..., 0]]])
    assert np.array_equal(rgba_of(data), expected)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ([(b"iCCP", b"name\0\0" + zlib.compress(bytes(MAX_ICC_BYTES + 1)))], "profile too large"),
        ([(b"iCCP", b"name\0\0garbage")], "profile not compressed"),
        ([(b"iCCP", b"no end of name")], "profile without a name"),
        ([(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000)))], "text bomb"),
        ([(b"eXIf", b"MM\0*\xff\xff\xff\xff")], "broken EXIF"),
        ([(b"acTL", struct.pack(">II", 2**31, 0)), (b"fcTL", bytes(26))], "endless animation"),
        ([(b"tRNS", b"")], "transparency too short"),
    ],
)
def test_a_damaged_or_bloated_side_chunk_does_not_cost_the_picture(extra, reason):
    samples = random_samples(4, 4, 8, 2)
    data = write_png(samples, depth=8, color_type=2, before_data=extra)
    tracemalloc.start()
    pixels = read_png(data, max_pixels=MAX_PIXELS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(np.asarray(pixels.color), samples), reason
    assert (pixels.alpha, pixels.icc_profile, pixels.orientation) == (None, None, 1)
    assert peak < 4 * MAX_ICC_BYTES


def test_a_side_chunk_with_a_bad_checksum_is_skipped_and_a_critical_one_refused():
    samples = random_samples(4, 4, 8, 2)
    data = write_png(samples, depth=8, color_type=2, before_data=[(b"tEXt", b"a\0b")])
    in_text, in_pixels = (bytearray(data) for _ in range(2))
    in_text[data.index(b"tEXt") + 5] ^= 1
    in_pixels[data.index(b"IDAT") + 8] ^= 1
    assert np.array_equal(rgba_of(bytes(in_text))[..., :3], samples)
    with pytest.raises(Unusable, match="checksum"):
        read_png(bytes(in_pixels), max_pixels=MAX_PIXELS)


def test_a_file_cut_off_anywhere_is_refused():
    data = write_png(random_samples(5, 5, 8, 6), depth=8, color_type=6)
    for length in range(len(data)):
        with pytest.raises(Unusable):
            read_png(data[:length], max_pixels=MAX_PIXELS)


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(SIGNATURE + chunk(b"IEND", b""), id="no header"),
        pytest.param(SIGNATURE + header(1, 1, depth=3), id="depth 3"),
        pytest.param(SIGNATURE + header(1, 1, color_type=5), id="colour type 5"),
        pytest.param(SIGNATURE + header(1, 1, depth=16, color_type=3), id="16-bit palette"),
        pytest.param(SIGNATURE + header(1, 1, interlace=2), id="interlace 2"),
        pytest.param(SIGNATURE + header(0, 1), id="width 0"),
        pytest.param(SIGNATURE + header(65_536, 1), id="side too long"),
        pytest.param(SIGNATURE + header(1001, 1000), id="too many pixels"),
        pytest.param(SIGNATURE + header(1, 1, color_type=3), id="no palette"),
        pytest.param(SIGNATURE + header(1, 1) + chunk(b"tEXt", b"") * 2**16, id="chunk flood"),
    ],
)
def test_a_bad_header_is_refused_before_decoding(file):
    with pytest.raises(Unusable):
        read_png(file + chunk(b"IDAT", b"") + chunk(b"IEND", b""), max_pixels=MAX_PIXELS)
