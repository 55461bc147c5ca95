"""Raw request bodies to JSON values."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic_core import from_json

from api.errors import MalformedRequest
from api.rawjson import parse_object, plain
from scripts.fuzzing.catalogue import Check, Garbage


def open_check(_folder: Path) -> Check:
    """Parses; the value must be the one that another parser reads, and survive another round."""
    return check


def check(data: bytes) -> bool:
    """See `open_check`."""
    try:
        value = plain(parse_object(data))
    except MalformedRequest:
        return False
    confirm(data, value)
    return True


def confirm(data: bytes, value: object) -> None:
    """Raises `Garbage` unless `value` is what `data` says."""
    try:
        expected = from_json(data, allow_inf_nan=False)
    except ValueError as exc:
        raise Garbage("accepted what another parser refuses") from exc
    if value != expected:
        raise Garbage(f"read {value!r}, another parser {expected!r}")
    again = json.dumps(value).encode()
    if plain(parse_object(again)) != value:
        raise Garbage("another value after another round")


def seeds() -> list[bytes]:
    """Every kind of value, number and mistake."""
    return [
        b'{"Action": "ListModels", "PublicKey": "p", "Signature": "s"}',
        b'{"a": [1, -0, 1.0, 1e30, -1.5E-7, true, false, null, "\\u00e9\\ud83d\\ude00\\n"]}',
        '{"prompt": "ein Haus, 家", "deep": {"a": {"b": [[[]]]}}}'.encode(),
        b'{"a": 1, "a": 2}',
        b'{"a": NaN, "b": -Infinity}',
        b'{"a": "\\ud800"}',
        b"[" * 20 + b"]" * 20,
        b'{"n": 123456789012345678901234567890123456789}',
        b'\xef\xbb\xbf{"a": 1}',
    ]
