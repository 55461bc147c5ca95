from __future__ import annotations

import json
from pathlib import Path

from tests.api.bench import QUERIES, Bench


def test_the_description_covers_every_field_of_every_action(shared: Bench):
    document = shared.caller.http.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    body = document["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    mapping = body["discriminator"]["mapping"]
    assert mapping.keys() == {"GenerateBackgrounds", *QUERIES}
    assert [ref["$ref"] for ref in body["oneOf"]] == list(mapping.values())
    for action, ref in mapping.items():
        schema = schemas[ref.rsplit("/", 1)[1]]
        assert schema["properties"]["Action"]["const"] == action
        assert {"Action", "PublicKey", "Signature"} <= set(schema["required"])
        assert {"request_uuid", *QUERIES.get(action, {})} <= schema["properties"].keys()
    for name, schema in schemas.items():
        if name in ("HTTPValidationError", "ValidationError"):
            continue
        for field, member in schema.get("properties", {}).items():
            assert member.get("description"), f"{name}.{field}"
    references = set(json.dumps(document).split('"#/components/schemas/')[1:])
    assert {reference.split('"')[0] for reference in references} <= schemas.keys()


def test_the_page_shows_them_without_a_network(shared: Bench):
    page = shared.caller.http.get("/docs").text
    for text in ("ReferStrength", "TransparentImageIndexList", "ErrorMassage", "from 64"):
        assert text in page
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_the_page_can_be_switched_off(tmp_path: Path):
    bench = Bench(tmp_path, docs=False)
    for path in ("/docs", "/openapi.json"):
        assert bench.caller.http.get(path).status_code == 404
