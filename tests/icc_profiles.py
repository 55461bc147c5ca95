"""Small ICC profiles written out by hand (ICC.1 version 2), for tests of colour conversion."""

from __future__ import annotations

import itertools
import struct

# D50-adapted primaries of sRGB.
RED, GREEN, BLUE = (0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)


D50 = (0.9642, 1.0, 0.8249)


def rgb_profile(*, gamma: float = 1.8, primaries=(RED, GREEN, BLUE), white=D50) -> bytes:
    """A display profile of three primaries and one gamma."""
    tags = {b"rXYZ": _xyz(primaries[0]), b"gXYZ": _xyz(primaries[1]), b"bXYZ": _xyz(primaries[2])}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma))
    return _profile(b"mntr", b"RGB ", b"XYZ ", {**tags, b"wtpt": _xyz(white)})


def grey_profile(*, gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def one_way_rgb_profile(*, black: float = 0.0) -> bytes:
    """A scanner profile with a table to Lab only: red counts as lightness, all is neutral."""
    table = _table(3, lambda c: black + (1 - black) * c[0])
    return _profile(b"scnr", b"RGB ", b"Lab ", {b"A2B0": table, b"A2B1": table})


def device_link_profile() -> bytes:
    """From RGB straight to RGB; it says nothing of how a colour looks."""
    return _profile(b"link", b"RGB ", b"RGB ", {b"A2B0": _table(3, lambda c: c[0])})


def cmyk_profile() -> bytes:
    """A printer profile whose only effective ink is black."""
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": _table(4, lambda c: 1 - c[3])})


def _profile(device_class, space, pcs, tags) -> bytes:
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": _xyz(D50),
        **tags,
    }
    directory, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for signature, data in tags.items():
        directory += signature + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = bytearray(128)
    struct.pack_into(">I", header, 0, start + len(body))
    header[8:12] = b"\x02\x10\0\0"
    header[12:24] = device_class + space + pcs
    header[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    header[36:40] = b"acsp"
    header[68:80] = _fixed(D50)
    return bytes(header) + directory + body


def _fixed(values) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _xyz(values) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _curve(gamma) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def _table(channels, lightness) -> bytes:
    """An 8-bit table with two grid points a channel, to neutral Lab colours."""
    ramp = bytes(range(256))
    corners = itertools.product((0, 1), repeat=channels)
    grid = b"".join(bytes((round(255 * lightness(corner)), 128, 128)) for corner in corners)
    head = b"mft1" + bytes(4) + bytes((channels, 3, 2, 0)) + _fixed((1, 0, 0, 0, 1, 0, 0, 0, 1))
    return head + ramp * channels + grid + ramp * 3
