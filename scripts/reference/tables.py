"""Fields of a JSON schema as a Markdown table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

LIMITS = (
    ("minimum", "from"),
    ("exclusiveMinimum", "above"),
    ("maximum", "to"),
    ("exclusiveMaximum", "below"),
    ("multipleOf", "a multiple of"),
    ("minLength", "characters at least"),
    ("maxLength", "characters at most"),
    ("maxItems", "entries at most"),
)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell stays a bar."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )


def fields_table(
    properties: Mapping[str, Schema],
    *,
    describe: Callable[[str, Schema], str],
    default: Callable[[str, Schema], str] | None = None,
) -> str:
    """A row for each property of an object.

    Args:
        properties: their schemas by name.
        describe: name and schema of one -> its meaning.
        default: the same -> its default; None leaves that column out.
    """
    heads = ["Field", "Type and range", *(["Default"] if default else []), "Meaning"]
    rows = [
        [
            f"`{name}`",
            type_of(member),
            *([default(name, member)] if default else []),
            describe(name, member),
        ]
        for name, member in properties.items()
    ]
    return table(heads, rows)


def defaults_of(schema: Schema, written: Callable[[Any], str]) -> Callable[[str, Schema], str]:
    """What a property of `schema` is when it is not given, with defaults as `written`."""
    required = schema.get("required", ())

    def default(name: str, member: Schema) -> str:
        return "required" if name in required else written(member.get("default"))

    return default


def as_json(value: Any) -> str:
    """A default as it is written in JSON; a dash for none and for empty ones."""
    return "-" if value in (None, [], {}, "") else f"`{json.dumps(value)}`"


def type_of(member: Schema) -> str:
    """A field's type and range, with links to the sections of the parts it is made of."""
    return " or ".join(dict.fromkeys(_types(member)))


def _types(member: Schema) -> Iterator[str]:
    for option in (*member.get("anyOf", ()), *member.get("allOf", ())):
        yield from _types(option)
    kind = member.get("type", "null")
    if "$ref" in member:
        name = member["$ref"].rsplit("/", 1)[1]
        yield f"[{name}](#{name.lower()})"
    elif "enum" in member:
        yield " or ".join(f"`{value}`" for value in member["enum"])
    elif kind == "array":
        yield f"list of {type_of(member['items'])}{_limits(member)}"
    elif isinstance(extra := member.get("additionalProperties"), dict):
        yield f"object of {type_of(extra)}"
    elif kind != "null":
        yield f"{_kind(member)}{_limits(member)}"


def _kind(member: Schema) -> str:
    return "path" if member.get("format") == "path" else str(member["type"])


def _limits(member: Schema) -> str:
    return "".join(f", {word} {member[key]}" for key, word in LIMITS if key in member)
