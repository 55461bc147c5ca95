"""The protocol's reference, from the wire models."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from fastapi import FastAPI

from api import errors, protocol
from api.actions import ACTIONS
from api.openapi import openapi_of
from api.protocol import Envelope
from api.responses import Response
from api.wire_types import WireModel
from scripts.reference.tables import (
    Schema,
    as_json,
    defaults_of,
    fields_table,
    table,
    type_of,
)

INTRODUCTION = """# Protocol reference

One endpoint, `POST /`; the body is a JSON object, and its field `Action` says what is asked. An
action that makes a task answers at once with a `TaskUID`; its pictures are polled for. This page is
generated from the models that check the requests; a running server shows the same at `/docs` and
`/openapi.json`. What is no part of the hosted API is called an addition.

## Rules of all actions

- Unknown fields are ignored, `null` is absence, and a value out of range is refused, never changed.
- The answer's `RetCode` is 0, or one of the table below; HTTP's status is 200 in either case, but 413
  for a body that is too large and 408 for one that comes too slowly.
- **Signature**: leave `Signature` out and sort the other fields by name in byte order. Write names
  and values after each other with nothing between. A string stands as it is, a list as its values,
  an object as this rule says; true and false as words; numbers in plain decimals, `42.0` as `42`;
  null as nothing. Append the private key. The signature is the SHA-1 of that as UTF-8, in lower-case
  hex. Programs that do it: `examples/clients`.

## RetCode

The first that applies is answered, in the order 160, 170, 172, 171, 153, 161, 220, 230; others when
the request is carried out.
"""

ENVELOPE = ("Action", *Envelope.model_fields)
# The two codes that no `ApiError` stands for come with the answer and the crash.
OTHER_CODES = {0: "Success.", errors.GATEWAY_FAULT: "A crash; the server's log tells more."}


def page() -> str:
    """The whole page."""
    document = openapi_of(FastAPI(title="Backdrop"))
    schemas: dict[str, Schema] = document["components"]["schemas"]
    tops = {model.__name__ for each in ACTIONS.values() for model in (each.request, each.response)}
    parts = sorted(_parts(schemas) - tops)
    first = schemas[ACTIONS["GenerateBackgrounds"].request.__name__]
    return "\n".join(
        [
            INTRODUCTION,
            _ret_codes(),
            "## Every request\n",
            _table(first, {name: first["properties"][name] for name in ENVELOPE}, asked=True),
            "## Every answer\n",
            _table({}, schemas[Response.__name__]["properties"], asked=False),
            "## Actions\n",
            *(_action(name, schemas) for name in ACTIONS),
            "## Parts\n",
            *(_part(name, schemas[name]) for name in parts),
        ]
    )


def _ret_codes() -> str:
    texts = dict(OTHER_CODES)
    for kind in errors.ApiError.__subclasses__():
        texts[kind.ret_code] = (kind.__doc__ or "").strip()
    return table(("RetCode", "Meaning"), [(str(code), texts[code]) for code in sorted(texts)])


def _action(name: str, schemas: dict[str, Schema]) -> str:
    action = ACTIONS[name]
    request = schemas[action.request.__name__]
    response = schemas[action.response.__name__]
    return (
        f"### {name}\n\n{request['description']}\n\n"
        f"{_own_fields('Request', request, ENVELOPE, asked=True)}\n"
        f"{_own_fields('Answer', response, Response.model_fields, asked=False)}"
    )


def _own_fields(title: str, schema: Schema, common: Collection[str], *, asked: bool) -> str:
    """The fields of a body beside those that every one carries."""
    own = {name: each for name, each in schema["properties"].items() if name not in common}
    if not own:
        return f"{title}: nothing of its own.\n"
    return f"{title}:\n\n{_table(schema, own, asked=asked)}"


def _part(name: str, schema: Schema) -> str:
    text = f"### {name}\n\n{schema.get('description', '')}\n"
    if "enum" in schema:
        text += f"\n{type_of(schema)}\n"
    if schema.get("properties"):
        asked = issubclass(getattr(protocol, name, object), WireModel)
        text += f"\n{_table(schema, schema['properties'], asked=asked)}"
    return text


def _table(schema: Schema, properties: Mapping[str, Schema], *, asked: bool) -> str:
    """Fields of a request, with defaults; or of an answer, which are there every time."""
    return fields_table(
        properties,
        describe=lambda _, member: member.get("description", ""),
        default=defaults_of(schema, as_json) if asked else None,
    )


def _parts(schemas: dict[str, Schema]) -> set[str]:
    """Schemas that fields of others refer to."""
    return {
        name
        for schema in schemas.values()
        for member in schema.get("properties", {}).values()
        for name in _references(member)
    }


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].rsplit("/", 1)[1]
        for member in value.values():
            yield from _references(member)
    elif isinstance(value, list):
        for member in value:
            yield from _references(member)
