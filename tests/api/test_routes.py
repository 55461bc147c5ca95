from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from api import errors
from api.errors import ApiError
from tests.api.bench import QUERIES, Bench
from tests.api.wire import assert_refused, checked, generate, signature, signed, subclasses


def test_checks_come_in_the_protocols_order(shared: Bench):
    ask, post = shared.caller.ask, shared.caller.post
    nameless: list[dict[str, Any]] = [{}, {"Action": None}, {"Action": ""}, {"PublicKey": "nobody"}]
    for body in nameless:
        assert_refused(post(body), 160, "Missing Action")
    assert_refused(post({"Action": "Nothing", "PublicKey": "nobody"}), 170)
    assert_refused(post({"Action": "Nothing", "Signature": "x"}), 220, "[PublicKey]")
    stranger = {"Action": "Nothing", "PublicKey": "nobody", "Signature": "x"}
    assert_refused(post(stranger), 172, "User Not Exists")
    assert_refused(post({**stranger, "PublicKey": "alice"}), 171, "Signature VerifyAC Error")
    assert_refused(ask({"Action": "Nothing"}), 161, "Action [Nothing] not found")
    assert_refused(ask({"Action": "GenerateBackgrounds", "Seed": "x"}), 220, "[Transparent")
    assert_refused(ask(generate(Seed="x")), 230, "[Seed]")


def test_a_revoked_key_is_answered_as_one_that_never_was(bench: Bench):
    ring = bench.app.state.service.keys
    public, private = ring.add()
    ring.revoke(public)
    answers = []
    for key in (public, "0" * 24):
        fields = {"Action": "Nothing", "PublicKey": key}
        body = {**fields, "Signature": signature(fields, private)}
        answers.append(bench.caller.http.post("/", json=body))
    assert_refused(answers[0].json(), 172)
    assert answers[0].content == answers[1].content
    assert answers[0].headers == answers[1].headers


def test_a_lower_case_signature_is_taken_in_its_place(shared: Bench):
    body = signed({"Action": "ListModels"})
    body["signature"] = body.pop("Signature")
    assert shared.caller.post(body)["RetCode"] == 0


@pytest.mark.parametrize("name", ["Action", "PublicKey"])
@pytest.mark.parametrize("value", [1, True, ["ListModels"], {"a": 1}])
def test_the_envelopes_texts_are_texts(shared: Bench, name: str, value: object):
    body = {"Action": "ListModels", "PublicKey": "alice", "Signature": "x", name: value}
    assert_refused(shared.caller.post(body), 230, f"[{name}]")


@pytest.mark.parametrize("value", [1, True, ["x"], {"a": 1}])
def test_request_uuid_is_a_text(shared: Bench, value: object):
    fields = {"Action": "ListModels", "request_uuid": value}
    answer = shared.caller.ask(fields)
    assert_refused(answer, 230, "[request_uuid]")
    assert "request_uuid" not in answer


@pytest.mark.parametrize("action", ["GenerateImages", "RemoveBackground", "listmodels", "é" * 99])
def test_other_actions_are_not_found(shared: Bench, action: str):
    answer = shared.caller.ask({"Action": action})
    assert_refused(answer, 161)
    assert answer["Action"] == action


@pytest.mark.parametrize(("action", "fields"), QUERIES.items())
def test_request_uuid_and_action_are_echoed(shared: Bench, action: str, fields: dict[str, Any]):
    answer = shared.caller.call(**{"Action": action, "request_uuid": "ü-1", **fields})
    assert (answer["Action"], answer["request_uuid"]) == (action, "ü-1")
    assert "request_uuid" not in shared.caller.call(**{"Action": action, **fields})
    refused = shared.caller.post({"Action": action, "PublicKey": "x", "request_uuid": "u"})
    assert_refused(refused, 170)
    assert (refused["Action"], refused["request_uuid"]) == (action, "u")


@pytest.mark.parametrize("action", ["ListTasksDetails", "ListGenerateTaskDetail"])
def test_a_query_without_its_ids_is_refused(shared: Bench, action: str):
    [name] = QUERIES[action]
    assert_refused(shared.caller.ask({"Action": action}), 220, f"[{name}]")
    assert_refused(shared.caller.ask({"Action": action, name: "x"}), 230, f"[{name}]")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"Action":"ListModels","Action":"ListModels"}',
        b'{"Action":"ListModels","a":NaN}',
        b'{"Action":"ListModels","a":"\\ud800"}',
        b'{"Action":"ListModels","a":1e31}',
        b'{"Action":"ListModels","a":' + b"9" * 41 + b"}",
        b'{"Action":"ListModels","a":' + b"[" * 17 + b"]" * 17 + b"}",
        b'{"a":' + b"[" * 90_000,
        b'{"a":[' + b"[]," * 150_000 + b"1]}",
    ],
)
def test_hostile_json_is_refused_before_the_signature(shared: Bench, body: bytes):
    answer = shared.caller.post(body)
    assert_refused(answer, 230, "[body]")
    assert answer["Action"] == ""


def test_a_body_over_the_limit_is_refused_declared_or_not(tmp_path: Path):
    bench = Bench(tmp_path, max_body_bytes=2**16)
    exact = json.dumps({"Action": "x", "p": ""}).encode()
    exact = exact.replace(b'""', b'"' + b"x" * (2**16 - len(exact)) + b'"')
    assert len(exact) == 2**16
    assert_refused(bench.caller.post(exact), 170)
    declared = bench.caller.http.post("/", content=exact + b" ")
    taken = []

    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            taken.append(1)
            yield b" " * 2**15

    streamed = bench.caller.http.post("/", content=chunks())
    for response in (declared, streamed):
        assert response.status_code == 413
        assert_refused(checked(response.json()), 230, "65536 bytes")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_not_allowed(shared: Bench, method: str):
    response = shared.caller.http.request(method, "/")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    checked(response.json())


def test_a_store_that_does_not_answer_asks_to_retry(tmp_path: Path):
    bench = Bench(tmp_path)
    url = bench.app.state.service.urls.url("0" * 20, 0, int(time.time()) + 60)
    database = tmp_path / "tasks.sqlite3"
    bench.store.close()
    database.unlink()
    database.mkdir()  # which cannot be opened

    answered = bench.caller.http.post("/", json=signed({"Action": "ListRunningTasks"}))
    assert_refused(checked(answered.json()), 2001)
    assert int(answered.headers["retry-after"]) > 0
    for path in (url, "/readyz"):
        response = bench.caller.http.get(path)
        assert response.status_code == 503, response.text


def test_a_store_without_its_tables_is_a_fault_and_not_a_busy_moment(bench: Bench):
    with bench.store.database.write() as connection:
        connection.execute(text("alter table tasks rename column seed to grain"))
    response = bench.caller.http.post("/", json=signed(generate()))
    assert response.status_code == 500
    assert response.json() == {"RetCode": 130, "Action": "", "Message": "Internal error"}
    assert bench.files() == []


def test_a_crash_tells_nothing_and_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture):
    bench.app.state.service = dataclasses.replace(bench.app.state.service, registry=None)
    response = bench.caller.http.post("/", json=signed({"Action": "ListModels"}))
    assert response.status_code == 500
    assert response.json() == {"RetCode": 130, "Action": "", "Message": "Internal error"}
    with pytest.raises(AttributeError), caplog.at_level(logging.ERROR):
        TestClient(bench.app).post("/", json=signed({"Action": "ListModels"}))


def test_probes(shared: Bench):
    assert shared.caller.http.get("/healthz").status_code == 200
    ready = shared.caller.http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["ready"] is True


def test_every_api_error_has_a_code_of_its_own():
    concrete = subclasses(ApiError) - {ApiError}
    codes = [error.ret_code for error in concrete]
    assert len(set(codes)) == len(codes)
    assert set(codes) == {150, 153, 160, 161, 170, 171, 172, 220, 230, 1201, 1202, 2001}
    declared = {
        each
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, ApiError) and each is not ApiError
    }
    assert declared == concrete


def test_the_tests_own_signer_reproduces_the_published_vector():
    fields = {"Action": "ListModels", "PublicKey": "abcdefg"}
    assert signature(fields, "123456") == "4a20bc1141494035f6aaaad13224c94c5a8bc3a5"
