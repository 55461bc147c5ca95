"""The targets that need the fuzzers' packages, and a whole short run."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("schemathesis", reason="needs the extra fuzz")
pytest.importorskip("atheris", reason="needs the extra fuzz")

from fastapi import FastAPI, Response

from api.protocol import GenerateBackgroundsRequest
from scripts.fuzzing.__main__ import run
from scripts.fuzzing.catalogue import ENTRIES, Garbage
from scripts.fuzzing.targets import http_calls, wire_models


def doctored(status: int, answer: dict[str, object]) -> FastAPI:
    app = FastAPI()

    @app.post("/")
    def post() -> Response:
        return Response(json.dumps(answer), status, media_type="application/json")

    return app


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (500, {}, "HTTP 500"),
        (503, {"RetCode": 0}, "HTTP 503"),
        (200, {"RetCode": 130, "Action": "x", "Message": "Internal error"}, "own fault"),
        (200, {"RetCode": 0, "Action": "ListModels", "ModelList": 3}, "against its schema"),
    ],
)
def test_a_server_that_fails_is_caught(status: int, answer: dict[str, object], told: str) -> None:
    check = http_calls.HttpCheck(doctored(status, answer))
    with pytest.raises(Garbage, match=told):
        check(b'POST /\n{"Action": "ListModels"}')


def test_the_real_service_accepts_a_signed_task_and_refuses_the_rest(tmp_path: Path) -> None:
    check = http_calls.open_check(tmp_path)
    task = {
        "Action": "GenerateBackgrounds",
        "ImageList": [http_calls._CUTOUT],
        "TransparentForeground": {"ImageIndex": 0},
    }
    assert check(b"POST /\n" + json.dumps(task).encode())
    assert check(b'POST /\n{"Action": "ListTasksDetails", "TaskUIDList": ["@last"]}')
    assert not check(b'POST /\n{"Action": "ListModels", "PublicKey": "fuzz", "Signature": "x"}')
    assert not check(b"POST /\n[")
    assert not check(b"GET /results/x/1.png")


def test_a_model_that_accepts_against_its_schema_is_caught() -> None:
    fields = {"TransparentForeground": {"ImageIndex": 0}, "BatchSize": 1}
    request = GenerateBackgroundsRequest.model_validate(fields)
    wire_models.confirm(request, fields)
    with pytest.raises(Garbage, match="BatchSize"):
        wire_models.confirm(request, {**fields, "BatchSize": 17})


def test_lora_files_made_of_choices_are_accepted_and_refused(tmp_path: Path) -> None:
    lora_file = pytest.importorskip("scripts.fuzzing.targets.lora_file")
    check, choices = lora_file.open_check(tmp_path), random.Random(1)
    assert {check(choices.randbytes(200)) for _ in range(60)} == {True, False}


@pytest.mark.slow
def test_a_short_run_of_every_target_finds_nothing(tmp_path: Path) -> None:
    outcomes = run(list(ENTRIES), inputs=1200, seconds=30, seed=7, output=tmp_path)
    assert [each.entry.name for each in outcomes if not each.is_clean] == []
    assert sum(each.inputs for each in outcomes) >= 1200
