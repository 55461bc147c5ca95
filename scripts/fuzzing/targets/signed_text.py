"""Signatures: a body signed by the published rules is accepted, a changed one is not."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from api.errors import BadSignature, MalformedRequest
from api.rawjson import parse_object, plain
from api.signing import sign, verify
from scripts.fuzzing.catalogue import Check, Garbage
from scripts.fuzzing.targets import json_body

PRIVATE_KEY = "fuzz-private"
_NAMES = ("Signature", "signature")


def open_check(_folder: Path) -> Check:
    """Signs what an input holds as a client would, and verifies it."""
    return check


def check(data: bytes) -> bool:
    """See the module's text."""
    try:
        value = plain(parse_object(data))
    except MalformedRequest:
        return False
    assert isinstance(value, dict)
    fields = {name: member for name, member in value.items() if name not in _NAMES}
    confirm(fields)
    return True


def confirm(fields: dict[str, Any]) -> None:
    """Raises `Garbage` unless `fields` are verified as they are, and refused when changed."""
    signature = signed(fields, PRIVATE_KEY)
    if sign(fields, PRIVATE_KEY) != signature:
        raise Garbage("our own signer signs it otherwise")
    if not _is_verified({**fields, "Signature": signature}):
        raise Garbage("a right signature is refused")
    if _is_verified({**fields, "Signature": signature, "zz": "x"}):
        raise Garbage("a field that was added later passes")
    if _is_verified({**fields, "Signature": f"{int(signature, 16) ^ 1:040x}"}):
        raise Garbage("a wrong signature passes")


def _is_verified(fields: dict[str, Any]) -> bool:
    try:
        verify(parse_object(json.dumps(fields).encode()), PRIVATE_KEY)
    except BadSignature:
        return False
    return True


def signed(fields: dict[str, Any], private_key: str) -> str:
    """The signature by the rules of the protocol, shared with nothing of the service."""
    return hashlib.sha1((_text(fields) + private_key).encode()).hexdigest()


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")
        case list():
            return "".join(map(_text, value))
        case dict():
            return "".join(name + _text(value[name]) for name in sorted(value))
    return str(value)


def seeds() -> list[bytes]:
    """Those of the parser."""
    return json_body.seeds()
