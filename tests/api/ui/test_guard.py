"""What strangers reach of the page, and that it changes nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.ui.tickets import COOKIE, Tickets
from tests.api.bench import Bench
from tests.api.wire import png

pytest.importorskip("gradio", reason="the extra ui is not installed")


@pytest.fixture(scope="module")
def with_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("with-page"), ui=True)
    yield bench
    bench.store.close()


@pytest.fixture
def http(with_page: Bench) -> TestClient:
    return TestClient(with_page.app, base_url="http://127.0.0.1:8600")


@pytest.fixture
def ticket(with_page: Bench) -> str:
    return Tickets(with_page.store.secret()).make()


def upload(http: TestClient, ticket: str = "") -> int:
    headers = {"Cookie": f"{COOKIE}={ticket}"} if ticket else {}
    files = {"files": ("cup.png", png(), "image/png")}
    return http.post("/ui/gradio_api/upload", files=files, headers=headers).status_code


def test_the_page_names_no_other_host_and_says_so_in_its_policy(http: TestClient):
    page = http.get("/ui/")
    assert page.status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    style = http.get("/ui/theme.css")
    assert style.status_code == 200
    assert "https://" not in style.text


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/info",
        "/gradio_api/runs",
        "/gradio_api/run-history/connect",
        "/gradio_api/proxy=https://example.com/",
        "/gradio_api/openapi.json",
        "/gradio_api/token",
        "/monitoring",
        "/monitoring/summary",
        "/login",
    ],
)
def test_what_the_page_does_not_use_of_gradio_is_not_there(http: TestClient, path: str):
    assert http.get(f"/ui{path}").status_code == 404


def test_files_outside_the_pages_folder_stay_unread(http: TestClient, with_page: Bench):
    for file in (with_page.settings.models, Path("/etc/passwd")):
        assert http.get(f"/ui/gradio_api/file={file}").status_code in (403, 404)


def test_only_those_who_showed_a_key_pair_upload(http: TestClient, ticket: str):
    assert upload(http) == 403
    assert upload(http, ticket) == 200
    expires, _, signature = ticket.partition(".")
    assert upload(http, f"{int(expires) + 1}.{signature}") == 403
    assert upload(http, f"0.{signature}") == 403


def test_strangers_send_no_more_than_a_key_pair_takes(http: TestClient, ticket: str):
    body, path = b"x" * 70_000, "/ui/gradio_api/queue/join"
    assert http.post(path, content=body).status_code == 413
    cookie = {"Cookie": f"{COOKIE}={ticket}"}
    assert http.post(path, content=body, headers=cookie).status_code == 422
    assert http.post(path, content=iter([b"x"])).status_code == 411


def test_a_ticket_ends(monkeypatch: pytest.MonkeyPatch):
    tickets = Tickets(b"secret")
    ticket = tickets.make()
    assert tickets.is_valid(ticket)
    assert not Tickets(b"another").is_valid(ticket)
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert not tickets.is_valid(ticket)


def test_other_routes_are_as_without_the_page(http: TestClient, with_page: Bench, bench: Bench):
    without = TestClient(bench.app, base_url="http://127.0.0.1:8600")
    for path in ("/healthz", "/docs", "/results/x/0.png", "/nowhere"):
        ours, theirs = http.get(path), without.get(path)
        assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)
        assert ours.headers == theirs.headers
    unsigned = {"Action": "ListModels", "PublicKey": "alice"}
    assert with_page.caller.post(unsigned) == bench.caller.post(unsigned)
    assert http.get("/openapi.json").json() == without.get("/openapi.json").json()


def test_without_the_setting_there_is_no_page(bench: Bench):
    assert TestClient(bench.app).get("/ui/").status_code == 404
