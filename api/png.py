"""PNG files to 8-bit straight pixels, in every variety of the format.

Pillow decompresses and unfilters; what it gets wrong or would trip over is kept away from it. It is
handed only the chunks that make the picture: no text or animation chunks to blow up, no transparency
key to compare with already reduced or scaled samples, no damaged profile to fail on.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_SIDE_PX = 65_535
MAX_ICC_BYTES = 4 * 2**20
_MAX_CHUNKS = 2**16

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_DEPTHS = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGB_ALPHA: (8, 16),
}
_ORIENTATION_TAG = 0x0112


class Unusable(ValueError):
    """The file cannot be used; the message says why in words for the caller."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """A decoded file before colour conversion and rotation.

    Attributes:
        color: mode L, RGB or CMYK, straight.
        alpha: mode L, same size; None when the file has no transparency.
        icc_profile: as embedded, unchecked; None when there is none.
        orientation: EXIF orientation 1..8; 1 is upright.
    """

    color: Image.Image
    alpha: Image.Image | None
    icc_profile: bytes | None
    orientation: int


@dataclass(frozen=True, slots=True)
class _Header:
    width: int
    height: int
    depth: int
    color_type: int


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture by its declared size, before anything is decoded.

    Raises:
        Unusable: a side is 0 or above 65535, or there are more than `max_pixels` pixels.
    """
    if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
        raise Unusable(f"its size {width}x{height} has a side outside 1 to {MAX_SIDE_PX}")
    if width * height > max_pixels:
        raise Unusable(f"its size {width}x{height} is above the limit of {max_pixels} pixels")


def orientation_of(exif: Image.Exif) -> int:
    """EXIF orientation 1..8; 1 where it is absent or nonsense."""
    orientation = exif.get(_ORIENTATION_TAG)
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def read_png(data: bytes, *, max_pixels: int) -> Pixels:
    """Decode a PNG; of an animated one the still picture (its default image).

    16-bit samples are reduced to their high byte, 1, 2 and 4-bit ones scaled to 0..255. A tRNS key
    is compared with the samples as stored, before either.

    Raises:
        Unusable: not a PNG, damaged, cut off, or too large. Pillow's own errors pass through.
    """
    chunks = list(_chunks(data))
    header = _header(chunks, max_pixels)
    by_type = {kind: body for kind, body, _ in reversed(chunks)}  # the first of each type counts
    if header.color_type == _PALETTE and b"PLTE" not in by_type:
        raise Unusable("it has no palette")
    wanted = {b"IHDR", b"IDAT", b"IEND"}
    if header.color_type == _PALETTE:
        wanted |= {b"PLTE", b"tRNS"}
    file = b"".join([PNG_SIGNATURE, *(raw for kind, _, raw in chunks if kind in wanted)])
    color, alpha = _channels(file, header, by_type.get(b"tRNS"))
    return Pixels(
        color,
        alpha,
        _icc_profile(by_type.get(b"iCCP")),
        _orientation(by_type.get(b"eXIf")),
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, memoryview]]:
    """Type, body and whole of every chunk up to IEND; ancillary ones with a bad checksum skipped."""
    view = memoryview(data)
    position = len(PNG_SIGNATURE)
    if bytes(view[:position]) != PNG_SIGNATURE:
        raise Unusable("it is not a PNG file")
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(data):
            raise Unusable("the file is cut off")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise Unusable("the file is cut off")
        raw = view[position:end]
        position = end
        if zlib.crc32(raw[4:-4]) == int.from_bytes(raw[-4:], "big"):
            yield kind, raw[8:-4], raw
        elif kind[:1].isupper():
            raise Unusable("the file is damaged (checksum)")
        if kind == b"IEND":
            return
    raise Unusable("it has too many chunks")


def _header(chunks: list[tuple[bytes, memoryview, memoryview]], max_pixels: int) -> _Header:
    kind, body, _ = chunks[0] if chunks else (b"", memoryview(b""), None)
    if kind != b"IHDR" or len(body) != 13:
        raise Unusable("its header is damaged")
    width, height, depth, color_type, *methods, interlace = struct.unpack(">IIBBBBB", body)
    if depth not in _DEPTHS.get(color_type, ()) or methods != [0, 0] or interlace > 1:
        raise Unusable("its header names no known kind of PNG")
    check_size(width, height, max_pixels)
    return _Header(width, height, depth, color_type)


def _channels(
    file: bytes, header: _Header, trns: memoryview | None
) -> tuple[Image.Image, Image.Image | None]:
    """Colour (L or RGB) and alpha (L) of the picture, 8 bit."""
    image = _load(file)
    if header.color_type == _PALETTE:
        if trns is None:
            return image.convert("RGB"), None
        rgba = image.convert("RGBA")
        return rgba.convert("RGB"), rgba.getchannel("A")
    if header.color_type == _GREY_ALPHA:  # of 16 bit Pillow makes RGBA
        return image.getchannel(0), image.getchannel("A")
    if header.color_type == _RGB_ALPHA:
        return image.convert("RGB"), image.getchannel("A")
    if header.color_type == _GREY:
        return _grey(image, header.depth, trns)
    return _rgb(image, file, header.depth, trns)


def _load(file: bytes, rawmode: str | None = None) -> Image.Image:
    """The picture as Pillow decodes it, with `rawmode` in place of its own reading of the samples.

    The class is called directly because `Image.open` would apply Pillow's process-wide pixel limit
    on top of ours.
    """
    image = PngImageFile(BytesIO(file))
    if rawmode is not None:
        image.tile = [tile._replace(args=rawmode) for tile in image.tile]
    image.load()
    return image


def _grey(
    image: Image.Image, depth: int, trns: memoryview | None
) -> tuple[Image.Image, Image.Image | None]:
    if depth == 16:  # mode I;16, whose `convert` clips to 255 where the high byte is wanted
        samples = np.asarray(image)
        color, scale = Image.fromarray((samples >> 8).astype(np.uint8)), 1
    else:
        color, scale = image.convert("L"), 255 // (2**depth - 1)
        samples = np.asarray(color)
    if trns is None or len(trns) != 2:
        return color, None
    key = int.from_bytes(trns, "big") % 2**depth * scale
    return color, _opaque_where(samples != key)


def _rgb(
    image: Image.Image, file: bytes, depth: int, trns: memoryview | None
) -> tuple[Image.Image, Image.Image | None]:
    if trns is None or len(trns) != 6:
        return image, None
    key = np.array(struct.unpack(">3H", trns)) % 2**depth
    reduced_key = key >> 8 if depth == 16 else key
    visible = (np.asarray(image) != reduced_key.astype(np.uint8)).any(axis=2)
    if depth == 16:
        # Pillow keeps the high bytes only. Read as little-endian, the same samples give the low.
        low_bytes = _load(file, "RGB;16L")
        visible |= (np.asarray(low_bytes) != (key % 256).astype(np.uint8)).any(axis=2)
    return image, _opaque_where(visible)


def _opaque_where(visible: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(np.where(visible, np.uint8(255), np.uint8(0)))


def _icc_profile(iccp: memoryview | None) -> bytes | None:
    """The profile in an iCCP chunk; None when it is damaged or above 4 MiB."""
    if iccp is None:
        return None
    _name, _, rest = bytes(iccp).partition(b"\0")
    if not rest.startswith(b"\0"):  # the compression method
        return None
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], MAX_ICC_BYTES)
    except zlib.error:
        return None
    return profile if inflate.eof else None


def _orientation(exif_chunk: memoryview | None) -> int:
    if exif_chunk is None:
        return 1
    exif = Image.Exif()
    try:
        exif.load(bytes(exif_chunk))
        return orientation_of(exif)
    except (
        Exception
    ):  # Pillow's EXIF parser raises anything on damaged data; it is no reason to refuse
        return 1
