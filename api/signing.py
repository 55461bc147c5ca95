"""Signatures of requests (protocol section 2, and section 10 on what is not documented)."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import Enum, auto
from hashlib import sha1
from typing import Any

from api.errors import BadSignature, MissingSignature
from api.rawjson import JsonNumber, JsonValue

SIGNATURE_NAMES = ("Signature", "signature")  # the second is how T's README spells it


class FloatForm(Enum):
    """How a client's signer writes numbers that are no integers."""

    RULE = auto()  # plain decimal, no exponent, no zero fraction
    WRITTEN = auto()  # as in the body
    EXPONENT = auto()  # as Python's repr and Go's %v: 1e-05


class NullForm(Enum):
    """How a client's signer treats null."""

    EMPTY = auto()  # the name stays
    OMITTED = auto()  # the name goes too


def verify(params: Mapping[str, JsonValue], private_key: str) -> None:
    """Accepts `params` signed with `private_key` in one of at most six forms.

    Raises:
        MissingSignature: no signature in `params`.
        BadSignature: it fits none of the forms.
    """
    name = signature_name(params)
    given = params[name]
    if not isinstance(given, str):
        raise BadSignature
    signed = {key: value for key, value in params.items() if key != name}
    for float_form, null_form in _forms(signed):
        candidate = _digest(signed, private_key, float_form, null_form)
        if hmac.compare_digest(candidate.encode(), given.encode()):
            return
    raise BadSignature


def signature_name(params: Mapping[str, JsonValue]) -> str:
    """Name of the field that carries the signature; `Signature` wins over `signature`.

    Raises:
        MissingSignature: neither is there, or both are empty.
    """
    for name in SIGNATURE_NAMES:
        if params.get(name) not in (None, ""):
            return name
    raise MissingSignature


def sign(params: Mapping[str, Any], private_key: str) -> str:
    """The signature a client sends with `params`, by the published rule.

    Args:
        params: everything that is sent but the signature: JSON-ready Python values.
        private_key: the secret half of the key pair.

    Returns:
        SHA1 in lower-case hex.
    """
    unsigned = {name: _raw(value) for name, value in params.items() if name != "Signature"}
    return _digest(unsigned, private_key, FloatForm.RULE, NullForm.EMPTY)


def _raw(value: Any) -> JsonValue:
    match value:
        case bool() | str() | None:
            return value
        case int() | float():
            return JsonNumber(repr(value))
        case Mapping():
            return {name: _raw(member) for name, member in value.items()}
    return [_raw(member) for member in value]


def _forms(params: Mapping[str, JsonValue]) -> Iterator[tuple[FloatForm, NullForm]]:
    """The forms in which the signed text may differ, the rule's first."""
    leaves = list(_leaves(params))
    floats = [leaf for leaf in leaves if isinstance(leaf, JsonNumber) and not leaf.is_int]
    texts: dict[tuple[str, ...], FloatForm] = {}
    for form in FloatForm:
        texts.setdefault(tuple(_number_text(number, form) for number in floats), form)
    null_forms = NullForm if None in leaves else (NullForm.EMPTY,)
    for null_form in null_forms:
        for float_form in texts.values():
            yield float_form, null_form


def _leaves(value: JsonValue | Mapping[str, JsonValue]) -> Iterator[JsonValue]:
    match value:
        case Mapping():
            for member in value.values():
                yield from _leaves(member)
        case list():
            for member in value:
                yield from _leaves(member)
        case _:
            yield value


def _digest(
    params: Mapping[str, JsonValue], private_key: str, float_form: FloatForm, null_form: NullForm
) -> str:
    # Hashed piece by piece: joining would copy up to 64 MiB of images once more per form.
    digest = sha1(usedforsecurity=False)
    for piece in _pieces(params, float_form, null_form):
        digest.update(piece.encode("utf-8"))
    digest.update(private_key.encode("utf-8"))
    return digest.hexdigest()


def _pieces(
    value: JsonValue | Mapping[str, JsonValue], float_form: FloatForm, null_form: NullForm
) -> Iterator[str]:
    """The signed text of `value`, in pieces."""
    match value:
        case str():
            yield value
        case bool():
            yield "true" if value else "false"
        case JsonNumber():
            yield _number_text(value, float_form)
        case list():
            for member in value:
                yield from _pieces(member, float_form, null_form)
        case Mapping():
            for name in sorted(value):  # code point order is UTF-8 byte order
                if value[name] is None and null_form is NullForm.OMITTED:
                    continue
                yield name
                yield from _pieces(value[name], float_form, null_form)


def _number_text(number: JsonNumber, form: FloatForm) -> str:
    if number.is_int or form is FloatForm.WRITTEN:
        return number.text
    value = float(number.text)
    if form is FloatForm.EXPONENT:
        return str(int(value)) if value.is_integer() else repr(value)
    # The shortest digits that give this float back, as JavaScript and Go find them too.
    shortest = Decimal(repr(value))
    return str(int(shortest)) if value.is_integer() else format(shortest, "f")
