from __future__ import annotations

import base64
import dataclasses
import hashlib
import re

import pytest

from tests.api.bench import Bench
from tests.api.wire import generate, signed

NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/", 200),
        ("GET", "/", 405),
        ("GET", "/nothing", 404),
        ("GET", "/results/x/0.png", 404),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/openapi.json", 200),
    ],
)
def test_every_answer_has_strict_headers(shared: Bench, method: str, path: str, status: int):
    response = shared.caller.http.request(method, path, content=b"{}")
    assert response.status_code == status
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-security-policy"] == NOTHING
    assert "server" not in response.headers


def test_a_crash_has_them_too(bench: Bench):
    bench.app.state.service = dataclasses.replace(bench.app.state.service, registry=None)
    response = bench.caller.http.post("/", json=signed({"Action": "ListModels"}))
    assert response.status_code == 500
    assert response.headers["content-security-policy"] == NOTHING
    assert response.headers["cache-control"] == "no-store"


def test_a_result_image_may_be_kept_by_its_owner_only(bench: Bench):
    uid = bench.submit(**generate())
    bench.run(uid, [0])
    response = bench.caller.http.get(bench.detail(uid)["ImgList"][0])
    assert response.headers["cache-control"] == "private"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"] == NOTHING


def test_the_page_may_load_nothing_but_its_own_style(shared: Bench):
    response = shared.caller.http.get("/docs")
    policy = response.headers["content-security-policy"]
    [style] = re.findall("<style>(.*?)</style>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"{NOTHING}; style-src 'sha256-{digest}'"
    assert "style=" not in response.text
    assert "<script" not in response.text
