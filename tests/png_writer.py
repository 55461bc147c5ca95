"""A PNG writer independent of Pillow: any bit depth, colour type, filter and interlacing."""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width, height, depth=8, color_type=6, interlace=0) -> bytes:
    return chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, interlace)
    )


def write_png(
    samples, *, depth, color_type, interlaced=False, before_data=(), idat_bytes=1000
) -> bytes:
    """A PNG file of `samples` (H, W, channels), as integers of `depth` bits.

    The lines use the five filters in turn; `before_data` holds (type, body) of further chunks.
    """
    height, width, channels = samples.shape
    assert channels == CHANNELS[color_type]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    lines = b""
    for x, y, x_step, y_step in passes:
        part = samples[y::y_step, x::x_step]
        if part.size:
            lines += _filtered(part, depth)
    data = zlib.compress(lines)
    pieces = [data[i : i + idat_bytes] for i in range(0, len(data), idat_bytes)]
    return b"".join(
        [
            SIGNATURE,
            header(width, height, depth, color_type, int(interlaced)),
            *(chunk(kind, body) for kind, body in before_data),
            *(chunk(b"IDAT", piece) for piece in pieces),
            chunk(b"IEND", b""),
        ]
    )


def _filtered(samples, depth) -> bytes:
    step = max(1, samples.shape[2] * depth // 8)
    previous, out = None, b""
    for index, line in enumerate(samples):
        packed = np.frombuffer(_packed(line.reshape(-1), depth), np.uint8).astype(int)
        above = np.zeros_like(packed) if previous is None else previous
        left = np.concatenate([np.zeros(step, int), packed])[: len(packed)]
        above_left = np.concatenate([np.zeros(step, int), above])[: len(packed)]
        kind = (index + 1) % 5
        prediction = (
            np.zeros_like(packed),
            left,
            above,
            (left + above) // 2,
            _paeth(left, above, above_left),
        )[kind]
        out += bytes([kind]) + ((packed - prediction) % 256).astype(np.uint8).tobytes()
        previous = packed
    return out


def _packed(samples, depth) -> bytes:
    if depth == 16:
        return samples.astype(">u2").tobytes()
    bits = ((samples[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8)
    return np.packbits(bits.reshape(-1)).tobytes()


def _paeth(left, above, above_left):
    estimate = left + above - above_left
    to_left, to_above, to_corner = (abs(estimate - n) for n in (left, above, above_left))
    nearest = np.where(to_above <= to_corner, above, above_left)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest)
