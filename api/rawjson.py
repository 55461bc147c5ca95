"""Request bodies as signed: JSON values with every number's text kept (protocol section 10)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NoReturn

from api.errors import MalformedRequest

MAX_DEPTH = 16
MAX_VALUES = 100_000
MAX_NUMBER_CHARS = 40
MAX_EXPONENT = 30

_EXPONENT = re.compile(r"[eE]([+-]?\d+)$")


@dataclass(frozen=True, slots=True)
class JsonNumber:
    """A number as written in the body; at most 40 characters, exponent at most 30."""

    text: str

    @property
    def is_int(self) -> bool:
        """Whether it is written with digits only, so that every client signs it so."""
        return not any(mark in self.text for mark in ".eE")

    def value(self) -> int | float:
        """The number: an int where it has no fraction, since 10.0 is an Int; else float64."""
        number = int(self.text) if self.is_int else float(self.text)
        return int(number) if number == int(number) else number


JsonValue = str | bool | JsonNumber | None | list["JsonValue"] | dict[str, "JsonValue"]


def parse_object(body: bytes | bytearray) -> dict[str, JsonValue]:
    """A request body as an object.

    Args:
        body: UTF-8 text of one JSON object.

    Raises:
        MalformedRequest: not UTF-8, not JSON, not an object; duplicate names, NaN or Infinity,
            lone surrogates, depth over 16, over 100,000 values, or a number of over 40
            characters or with an exponent beyond 30.
    """
    _bound_values(body)
    try:
        parsed = json.loads(
            body.decode("utf-8"),
            parse_int=_number,
            parse_float=_number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique_names,
        )
    except UnicodeDecodeError as exc:
        raise MalformedRequest("body", f"not UTF-8 at byte {exc.start}") from exc
    except json.JSONDecodeError as exc:
        raise MalformedRequest("body", f"not JSON: {exc.msg} at character {exc.pos}") from exc
    except RecursionError as exc:
        raise _too_deep() from exc
    if not isinstance(parsed, dict):
        raise MalformedRequest("body", "not a JSON object")
    _check(parsed, depth=1)
    return parsed


def plain(value: JsonValue) -> object:
    """`value` with every `JsonNumber` as int or float, for validation."""
    match value:
        case JsonNumber():
            return value.value()
        case dict():
            return {name: plain(member) for name, member in value.items()}
        case list():
            return [plain(member) for member in value]
    return value


def _bound_values(body: bytes | bytearray) -> None:
    """Refuses bodies whose parsed form would take far more memory than their text.

    Every value but the first follows one of these bytes, so their number bounds the number of
    values: three passes at memchr speed. Commas inside strings count as well, which is harmless:
    Base64 has none.
    """
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise MalformedRequest("body", f"more than {MAX_VALUES} values")


def _number(text: str) -> JsonNumber:
    if len(text) > MAX_NUMBER_CHARS:
        raise MalformedRequest("body", f"a number of more than {MAX_NUMBER_CHARS} characters")
    exponent = _EXPONENT.search(text)
    if exponent and abs(int(exponent[1])) > MAX_EXPONENT:
        raise MalformedRequest("body", f"a number with an exponent beyond {MAX_EXPONENT}")
    return JsonNumber(text)


def _refuse_constant(text: str) -> NoReturn:
    raise MalformedRequest("body", f"{text} is not JSON")


def _unique_names(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise MalformedRequest("body", "an object with the same name twice")
    return members


def _check(value: JsonValue, *, depth: int) -> None:
    match value:
        case str():
            _check_text(value)
        case dict() | list():
            if depth > MAX_DEPTH:
                raise _too_deep()
            if isinstance(value, dict):
                for name in value:
                    _check_text(name)
            for member in value.values() if isinstance(value, dict) else value:
                _check(member, depth=depth + 1)


def _check_text(text: str) -> None:
    try:
        text.isascii() or text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise MalformedRequest("body", "a lone surrogate in a string") from exc


def _too_deep() -> MalformedRequest:
    return MalformedRequest("body", f"nested deeper than {MAX_DEPTH}")
