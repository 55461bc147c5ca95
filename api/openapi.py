"""The OpenAPI description of the one endpoint, and a page of it that needs no network.

FastAPI's own page loads its scripts from a content network, which a closed site cannot reach; and
it knows one body for a path, while here the field `Action` decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.actions import ACTIONS
from api.protocol import Envelope
from api.responses import Response

_REF = "#/components/schemas/"


def openapi_of(app: FastAPI) -> dict[str, Any]:
    """The app's description with a request and a response schema for every action."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(_schemas())
    requests = {name: _REF + action.request.__name__ for name, action in ACTIONS.items()}
    body = {
        "oneOf": [{"$ref": ref} for ref in requests.values()],
        "discriminator": {"propertyName": "Action", "mapping": requests},
    }
    answers = [action.response.__name__ for action in ACTIONS.values()]
    document["paths"]["/"] = {
        "post": {
            "tags": ["actions"],
            "summary": "Carries out the signed action named in the body.",
            "operationId": "call",
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": {
                    "description": "The answer; RetCode tells whether it is an error.",
                    "content": _content({"anyOf": [{"$ref": _REF + name} for name in answers]}),
                },
                "413": {
                    "description": "The body is too large.",
                    "content": _content({"$ref": _REF + Response.__name__}),
                },
            },
        }
    }
    return document


def _content(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _schemas() -> dict[str, Any]:
    """Schemas of all wire models by name; every request carries the envelope and its Action."""
    requests: list[type[BaseModel]] = [Envelope, *(each.request for each in ACTIONS.values())]
    answers: list[type[BaseModel]] = [Response, *(each.response for each in ACTIONS.values())]
    _, validated = models_json_schema(
        [(model, "validation") for model in requests], ref_template=_REF + "{model}"
    )
    _, serialized = models_json_schema(
        [(model, "serialization") for model in answers], ref_template=_REF + "{model}"
    )
    schemas: dict[str, Any] = {**validated["$defs"], **serialized["$defs"]}
    envelope = schemas.pop(Envelope.__name__)
    for name, action in ACTIONS.items():
        schema = schemas[action.request.__name__]
        named = {"const": name, "type": "string", "description": "The action's name."}
        own = schema.get("properties", {})
        schema["properties"] = {"Action": named, **envelope["properties"], **own}
        schema["required"] = ["Action", *envelope["required"], *schema.get("required", [])]
    return schemas


def docs_page(document: Mapping[str, Any]) -> str:
    """The description as one plain HTML page without scripts."""
    info = document["info"]
    schemas = document["components"]["schemas"]
    paths = "".join(
        f"<li><code>{method.upper()} {escape(path)}</code> {escape(operation.get('summary', ''))}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    sections = "".join(_section(name, schemas[name]) for name in sorted(schemas, key=_order))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}'
        f"</title><style>{STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}"
        f"</h1><p>{escape(info.get('description', ''))} The same for machines: "
        f'<a href="openapi.json">openapi.json</a>.<ul>{paths}</ul>{sections}</html>'
    )


STYLE = (
    "body{font:15px/1.5 system-ui;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}td,th{border:1px solid #ccc;padding:.3em .6em;"
    "text-align:left;vertical-align:top}h2{margin-top:2em}"
)


def _order(name: str) -> tuple[int, str]:
    """Requests first, then responses, then their parts."""
    return (0 if name.endswith("Request") else 1 if name.endswith("Response") else 2), name


def _section(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code><td>{_type(member)}"
        f"<td>{'yes' if field in required else _default(member)}"
        f"<td>{escape(member.get('description', ''))}"
        for field, member in schema.get("properties", {}).items()
    )
    values = ", ".join(map(str, schema.get("enum", ())))
    table = f"<table><tr><th>field<th>type<th>required or default<th>meaning{rows}</table>"
    return (
        f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{escape(schema.get("description", ""))} '
        f"{escape(values)}{table if rows else ''}"
    )


def _default(member: Mapping[str, Any]) -> str:
    default = member.get("default")
    return "" if default is None else f"default {escape(json.dumps(default))}"


def _type(member: Mapping[str, Any]) -> str:
    """A field's type, with links to the parts it is made of."""
    return " or ".join(dict.fromkeys(_types(member)))


def _types(member: Mapping[str, Any]) -> Iterator[str]:
    for option in (*member.get("anyOf", ()), *member.get("allOf", ())):
        yield from _types(option)
    if "$ref" in member:
        name = escape(member["$ref"].removeprefix(_REF))
        yield f'<a href="#{name}">{name}</a>'
    elif member.get("type") == "array":
        yield f"array of {_type(member['items'])}"
    elif isinstance(extra := member.get("additionalProperties"), dict):
        yield f"object of {_type(extra)}"
    elif member.get("type", "null") != "null":
        limits = "".join(
            f", {escape(word)} {member[key]}"
            for key, word in (("minimum", "from"), ("maximum", "to"), ("exclusiveMaximum", "below"))
            if key in member
        )
        yield f"{member['type']}{limits}"
