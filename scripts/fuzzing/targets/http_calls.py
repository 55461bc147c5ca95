"""The whole service, called as its OpenAPI description says and as it does not.

An input is one request: a line `METHOD target` and the body behind it. A JSON object in the body is
signed when it is sent, unless it says itself whose it is; a TaskUID `@last` stands for the last
task that was accepted.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from jsonschema import Draft202012Validator
from PIL import Image
from schemathesis import GenerationMode

from api.actions import ACTIONS
from api.app import GATEWAY_FAULT, create_app
from api.blobs import open_blobs
from api.keys import KeyRing
from api.openapi import openapi_of
from api.settings import Settings
from api.store import open_store
from engine.registry import load_registry
from scripts.fuzzing.catalogue import Check, Garbage
from scripts.fuzzing.targets.signed_text import PRIVATE_KEY, signed

_PUBLIC_KEY = "fuzz"
_LAST = "@last"
_MODELS = Path(__file__).resolve().parents[3] / "models.yaml"
_UNREADY = "/readyz"  # it says 503 by design where no worker is


def open_check(folder: Path) -> Check:
    """Calls the real application on a store of its own."""
    return HttpCheck(application(folder))


def application(folder: Path) -> FastAPI:
    """The service without workers over SQLite and a local folder."""
    settings = Settings(
        data_dir=folder,
        models=_MODELS,
        keys=f"{_PUBLIC_KEY}:{PRIVATE_KEY}",
        max_image_pixels=2**20,
        idempotency_keys=True,
    )
    store = open_store(settings)
    keys = KeyRing(store.database, settings.keys)
    return create_app(settings, store, open_blobs(settings), keys, load_registry(_MODELS))


class HttpCheck:
    """Sends an input to an application and judges the answer by the application's own description.

    Args:
        app: answers.
    """

    def __init__(self, app: FastAPI) -> None:
        self._http = TestClient(app, raise_server_exceptions=False)
        self._schemas = openapi_of(app)["components"]
        self._last = "none"

    def __call__(self, data: bytes) -> bool:
        """Whether the request succeeded.

        Raises:
            Garbage: a fault of the server's own, an answer against its schema, or an accepted task
                that is not there.
        """
        line, _, body = data.partition(b"\n")
        method, _, target = line.decode("utf-8", "replace").partition(" ")
        content = self._ready(body) if method == "POST" else b""
        try:
            response = self._http.request(method, target, content=content)
        except httpx.InvalidURL:
            return False  # no client can send it
        if response.status_code >= 500 and target != _UNREADY:
            raise Garbage(f"HTTP {response.status_code}: {response.text[:300]}")
        if method != "POST" or target != "/" or response.status_code != 200:
            return response.status_code < 400
        return self._is_success(response.json())

    def _is_success(self, answer: Mapping[str, Any]) -> bool:
        if answer["RetCode"] == GATEWAY_FAULT:
            raise Garbage(f"the service's own fault: {answer}")
        if answer["RetCode"] != 0:
            return False
        action = ACTIONS[answer["Action"]]
        schema = {"$ref": f"#/components/schemas/{action.response.__name__}"}
        validator = Draft202012Validator({**schema, "components": self._schemas})
        broken = next(validator.iter_errors(dict(answer)), None)
        if broken is not None:
            raise Garbage(f"{answer['Action']} answers against its schema: {broken.message}")
        if answer["Action"] == "GenerateBackgrounds":
            self._confirm(answer["TaskUID"])
        return True

    def _confirm(self, uid: str) -> None:
        """The task is there; then it is canceled, so that the queue stays short."""
        self._last = uid
        for action, fields in (
            ("ListTasksDetails", {"TaskUIDList": [uid]}),
            ("CancelTask", {"TaskUID": uid}),
        ):
            answer = self._http.post("/", json=_signed({"Action": action, **fields})).json()
            if answer["RetCode"] != 0 or answer["TaskDetailList"][0]["TaskUID"] != uid:
                raise Garbage(f"the accepted task {uid} is not there: {answer}")

    def _ready(self, body: bytes) -> bytes:
        try:
            fields = json.loads(body.replace(_LAST.encode(), self._last.encode()))
        except (ValueError, RecursionError):
            return body
        if not isinstance(fields, dict) or "PublicKey" in fields:
            return body
        return json.dumps(_signed(fields)).encode()


def _signed(fields: dict[str, Any]) -> dict[str, Any]:
    whole = {**fields, "PublicKey": _PUBLIC_KEY}
    try:
        return {**whole, "Signature": signed(whole, PRIVATE_KEY)}
    except (UnicodeEncodeError, OverflowError, ValueError):
        return {**whole, "Signature": "no text can be signed that is none"}


def inputs() -> SearchStrategy[bytes]:
    """Calls of every operation, most of them of the one that does all."""
    schema = schemathesis.openapi.from_dict(_description())
    operations = [each.ok() for each in schema.get_all_operations()]
    cases: list[SearchStrategy[bytes]] = []
    for operation in operations:
        has_input = operation.body or operation.query or operation.path_parameters
        for mode in GenerationMode if has_input else [GenerationMode.POSITIVE]:
            strategy = operation.as_strategy(generation_mode=mode)
            cases += [_encoded(strategy)] * (4 if operation.body else 1)
    return st.one_of(*cases)


def _description() -> dict[str, Any]:
    """Of the routes alone: no store is opened for it."""
    from api import event_stream
    from api.routes import router

    app = FastAPI(title="Backdrop", version="1")
    app.include_router(router)
    app.include_router(event_stream.router)
    return openapi_of(app)


@st.composite
def _encoded(draw: st.DrawFn, cases: SearchStrategy[Any]) -> bytes:
    case = draw(cases)
    query = urlencode(case.query or {}, doseq=True, errors="replace")
    target = case.formatted_path + (f"?{query}" if query else "")
    body = case.body
    if isinstance(body, dict):
        body = draw(st.sampled_from([_likely, _likely, _likely, dict]))(body)
    text = b"" if case.method == "GET" else json.dumps(body, default=str).encode()
    return f"{case.method} {target}\n".encode("utf-8", "replace") + text


def _likely(body: dict[str, Any]) -> dict[str, Any]:
    """`body` with what no generator could guess: a key, a picture, a model, a task that exists."""
    likely = {k: v for k, v in body.items() if k not in ("PublicKey", "Signature", "WebhookUrl")}
    if "ImageList" in likely:
        likely["ImageList"] = [_CUTOUT, _CUTOUT]
    for name in ("TransparentForeground", "BackgroundImage2Image"):
        if isinstance(likely.get(name), dict):
            likely[name] = {**likely[name], "ImageIndex": 0}
    if isinstance(likely.get("MainModel"), dict):
        likely["MainModel"] = {**likely["MainModel"], "ModelCode": "PICPIK General"}
    likely.pop("SubModelList", None)
    for name, value in (("TaskUID", _LAST), ("TaskUIDList", [_LAST]), ("TaskUIDs", [_LAST])):
        if name in likely:
            likely[name] = value
    return likely


def _cutout() -> str:
    image, file = Image.new("RGBA", (64, 64)), BytesIO()
    image.paste((200, 30, 40, 255), (16, 16, 48, 48))
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


_CUTOUT = _cutout()
