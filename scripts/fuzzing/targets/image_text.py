"""Base64 and data URLs."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from api.media import image_bytes
from engine.errors import BadImage
from scripts.fuzzing.catalogue import Check, Garbage

_SPACE = " \t\r\n\f\v"


def open_check(_folder: Path) -> Check:
    """Decodes; the bytes must be those that Python's base64 reads."""
    return check


def check(data: bytes) -> bool:
    """See `open_check`."""
    text = data.decode("utf-8", "replace")
    try:
        file = image_bytes(text)
    except BadImage:
        return False
    confirm(text, file)
    return True


def confirm(text: str, file: bytes) -> None:
    """Raises `Garbage` unless `file` is what `text` holds."""
    packed = text.partition(",")[2] if text[:5].lower() == "data:" else text
    for mark in _SPACE:
        packed = packed.replace(mark, "")
    try:
        expected = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise Garbage("accepted what is no Base64") from exc
    if not file or file != expected:
        raise Garbage("other bytes than in the text")


def seeds() -> list[bytes]:
    """Both forms, with white space and all lengths of padding."""
    texts = [base64.b64encode(b"picture"[:length]) for length in range(1, 8)]
    urls = [b"data:image/png;base64," + text for text in texts]
    return [*texts, *urls, b"DATA:;BASE64,\nAA ==\r\n", b"data:,x"]
