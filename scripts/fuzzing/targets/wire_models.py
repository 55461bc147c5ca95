"""The wire models of every action: an input is JSON with the action and its fields."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from api.actions import ACTIONS
from api.errors import ApiError
from api.protocol import GenerateBackgroundsRequest
from api.rawjson import parse_object, plain
from api.wire_types import validate
from scripts.fuzzing.catalogue import Check, Garbage
from scripts.fuzzing.targets.near import near


def open_check(_folder: Path) -> Check:
    """Validates; the published schema must accept it too, and the model itself once more."""
    return check


def check(data: bytes) -> bool:
    """See `open_check`."""
    try:
        value = plain(parse_object(data))
        assert isinstance(value, dict)
        model = ACTIONS[value["Action"]].request
        request = validate(model, value["Fields"])
    except ApiError:
        return False
    confirm(request, value["Fields"])
    return True


def confirm(request: BaseModel, fields: Any) -> None:
    """Raises `Garbage` unless `fields` keep the schema and `request` outlives its own JSON."""
    model = type(request)
    broken = next(_validator(model).iter_errors(_as_read(fields)), None)
    if broken is not None:
        raise Garbage(f"accepted against its schema: {broken.json_path}: {broken.message}")
    stored = _stored(request)
    again = _stored(validate(model, stored))
    if again != stored:
        raise Garbage(f"{stored} became {again}")


def _stored(request: BaseModel) -> Any:
    """What a task keeps of the request; of a query, what it says."""
    if isinstance(request, GenerateBackgroundsRequest):
        return request.stored()
    return request.model_dump(mode="json", exclude_unset=True)


@cache
def _validator(model: type[BaseModel]) -> Draft202012Validator:
    return Draft202012Validator(model.model_json_schema())


def _as_read(fields: Any) -> Any:
    """`fields` without what the protocol says is not looked at."""
    read = _without_null(fields)
    if isinstance(read, dict) and "TransparentForeground" in read:
        read.pop("TransparentImageIndexList", None)  # ignored beside it
    return read


def _without_null(value: Any) -> Any:
    match value:
        case dict():
            return {k: _without_null(member) for k, member in value.items() if member is not None}
        case list():
            return [_without_null(member) for member in value]
    return value


def inputs() -> SearchStrategy[bytes]:
    """Requests near to the schema of every action."""
    actions = sorted(ACTIONS, key=lambda name: name != "GenerateBackgrounds")
    chosen = st.one_of(*(_of_action(name) for name in [actions[0], *actions]))
    return chosen.map(lambda request: json.dumps(request).encode())


def _of_action(name: str) -> SearchStrategy[dict[str, Any]]:
    schema = ACTIONS[name].request.model_json_schema()
    fields = near(schema, schema.get("$defs", {}))
    return st.fixed_dictionaries({"Action": st.just(name), "Fields": fields})
