"""Uploaded files to pixels. The first byte chooses: bit 0 reference or foreground, bit 1 checksums.

A PNG's checksums hide all but the first lines of its reader from random changes, so half of the
inputs get theirs put right.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms, UnidentifiedImageError

from api.media import DecodedImage, decode_foreground, decode_reference
from api.png import PNG_SIGNATURE
from engine.errors import BadImage
from scripts.fuzzing.catalogue import Check, Garbage

_MAX_PIXELS = 2**18
_REFERENCE, _CHECKSUMS = 1, 2


def open_check(_folder: Path) -> Check:
    """Decodes; what comes out must be the picture that another reader sees."""
    return check


def check(data: bytes) -> bool:
    """See the module's text."""
    switches, file = data[0] if data else 0, data[1:]
    if switches & _CHECKSUMS:
        file = with_checksums(file)
    is_reference = bool(switches & _REFERENCE)
    try:
        decoded = _decode(file, is_reference=is_reference)
    except BadImage:
        return False
    confirm(decoded, file, is_reference=is_reference)
    return True


def _decode(file: bytes, *, is_reference: bool) -> DecodedImage:
    decode = decode_reference if is_reference else decode_foreground
    return decode(file, max_pixels=_MAX_PIXELS, field="ImageList[0]")


def confirm(decoded: DecodedImage, file: bytes, *, is_reference: bool) -> None:
    """Raises unless `decoded` can be the picture in `file`.

    Raises:
        Garbage: wrong mode, size or transparency, or other pixels after another round.
    """
    image = decoded.image
    if image.mode != ("RGB" if is_reference else "RGBA"):
        raise Garbage(f"mode {image.mode}")
    if not is_reference and image.getchannel("A").getextrema()[0] == 255:
        raise Garbage("an opaque foreground")
    if image.width * image.height > _MAX_PIXELS:
        raise Garbage(f"{image.size} is above the limit")
    declared = _declared_size(file)
    if declared is not None and declared not in (image.size, image.size[::-1]):
        raise Garbage(f"{image.size} of a file that declares {declared}")
    again = BytesIO()
    image.save(again, "PNG", compress_level=0, icc_profile=decoded.icc_profile)
    if _decode(again.getvalue(), is_reference=is_reference).image.tobytes() != image.tobytes():
        raise Garbage("other pixels after another round")


def _declared_size(file: bytes) -> tuple[int, int] | None:
    if file.startswith(PNG_SIGNATURE):
        width, height = struct.unpack_from(">II", file, 16)
        return width, height
    try:
        with Image.open(BytesIO(file)) as image:
            return image.size
    except UnidentifiedImageError:
        return None


def with_checksums(file: bytes) -> bytes:
    """The PNG `file` with the checksum of every whole chunk put right; others as they are."""
    fixed, position = bytearray(file), len(PNG_SIGNATURE)
    while file.startswith(PNG_SIGNATURE) and position + 12 <= len(fixed):
        end = position + 12 + int.from_bytes(fixed[position : position + 4], "big")
        if end > len(fixed):
            break
        checksum = zlib.crc32(fixed[position + 4 : end - 4])
        fixed[end - 4 : end] = checksum.to_bytes(4, "big")
        position = end
    return bytes(fixed)


def seeds() -> list[bytes]:
    """Small files of every kind, as foreground and as reference, with and without right checksums."""
    files = list(_files())
    return [bytes([switches]) + file for file in files for switches in range(4)]


def _files() -> Iterator[bytes]:
    cutout = Image.new("RGBA", (9, 7))
    cutout.paste((200, 30, 40, 255), (2, 2, 6, 5))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("RGBA", "LA", "P", "L", "1", "RGB", "I;16"):
        yield _saved(
            cutout.convert("L").convert("I;16") if mode == "I;16" else cutout.convert(mode), "PNG"
        )
    yield _saved(cutout, "PNG", icc_profile=profile, exif=exif)
    yield _saved(cutout, "PNG", save_all=True, append_images=[cutout.rotate(90)])
    yield _saved(cutout.quantize(4), "PNG", transparency=0)
    yield _saved(cutout.convert("RGB"), "PNG", transparency=(0, 0, 0))
    for mode in ("RGB", "L", "CMYK"):
        yield _saved(cutout.convert("RGB").convert(mode), "JPEG", progressive=True, exif=exif)
    yield _saved(cutout, "WEBP", lossless=True)
    yield _saved(cutout.convert("RGB"), "WEBP", exif=exif)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
