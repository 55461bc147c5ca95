"""JSON values near to a JSON schema: mostly right, at the edge of right, or plainly wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Json = Any
_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_NUMBERS = st.one_of(
    st.integers(-3, 200),
    st.sampled_from([2**31, 2**31 - 1, -(2**31), 2**63, 10**30, 2560, 2561, 63, 64]),
    st.floats(-1e6, 1e6),
)
JUNK: SearchStrategy[Json] = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXT, st.sampled_from(["\0", "1", "true"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=3)),
    max_leaves=5,
)


def near(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> SearchStrategy[Json]:
    """Values near to `schema`: one in eight parts of them is junk.

    Args:
        schema: as pydantic writes it.
        definitions: what `$ref` names.
    """
    right = _right(schema, definitions)
    return st.integers(0, 7).flatmap(lambda choice: JUNK if choice == 7 else right)


def _right(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> SearchStrategy[Json]:
    if "$ref" in schema:
        return _right(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return st.one_of(*(_right(each, definitions) for each in schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            return _object(schema, definitions)
        case "array":
            return st.lists(near(schema.get("items", {}), definitions), max_size=3)
        case "string":
            return _TEXT
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "integer" | "number" as kind:
            return _number(schema, whole=kind == "integer")
    return JUNK


def _object(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> SearchStrategy[Json]:
    members = {name: near(each, definitions) for name, each in schema.get("properties", {}).items()}
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: member for name, member in members.items() if name in required},
        optional={name: member for name, member in members.items() if name not in required},
    )


def _number(schema: Mapping[str, Any], *, whole: bool) -> SearchStrategy[Json]:
    low = schema.get("minimum", -5)
    high = schema.get("maximum", schema.get("exclusiveMaximum", low + 50))
    edges = st.sampled_from([low, high, low - 1, high + 1, float(low)])
    inside = st.integers(int(low), int(high)) if whole else st.floats(low, high)
    return st.one_of(inside, inside, edges)
