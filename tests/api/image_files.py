"""Image files for the tests of decoding and encoding, and the two decoders at test limits."""

from __future__ import annotations

import io
import zlib

import numpy as np

from api.media import decode_foreground, decode_reference
from tests.icc_profiles import BLUE, GREEN, RED, rgb_profile
from tests.png_writer import write_png

MAX_PIXELS = 1_000_000
SWAPPED = rgb_profile(primaries=(BLUE, GREEN, RED))


def foreground(data):
    return decode_foreground(data, max_pixels=MAX_PIXELS, field="foreground")


def reference(data):
    return decode_reference(data, max_pixels=MAX_PIXELS, field="reference")


def rgba_samples(width=4, height=3):
    samples = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.int64)
    samples[0, 0, 3] = 0
    return samples


def rgba_png(before_data=()):
    return write_png(rgba_samples(), depth=8, color_type=6, before_data=before_data)


def iccp(profile):
    return (b"iCCP", b"icc\0\0" + zlib.compress(profile))


def saved(image, format_, **options):
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()
