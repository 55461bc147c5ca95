"""Log lines of a real server, at the finest level, through requests that go well and that do not."""

from __future__ import annotations

import json
import logging
import re
import traceback
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from api.database import open_database
from api.errors import TaskStoreError
from api.keys import KeyRing
from api.server import http_server, listen
from tests.api.bench import Bench
from tests.api.wire import KEYS, as_base64, generate, png, signature, signed

PROMPT = "a secret unreleased product"
CLIENT_SIDE = ("httpx", "httpcore")  # of the test itself


def test_no_line_holds_a_key_a_signature_an_image_or_a_prompt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch
):
    root = logging.getLogger()  # whose handlers of earlier tests would write to streams of theirs
    pytests = [each for each in root.handlers if type(each).__module__.startswith("_pytest")]
    monkeypatch.setattr(root, "handlers", pytests)
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("api.sqlite.BUSY_TIMEOUT_S", 0.05)
    bench = Bench(tmp_path)
    ring = KeyRing(bench.store.database)
    public, private = ring.add("shop")
    seen = []

    def send(fields: dict, **changes: object) -> httpx.Response:
        body = {**signed(fields), **changes}
        seen.append(body["Signature"])
        return http.post(url, json=body)

    with (
        listen("127.0.0.1", 0) as listener,
        http_server(bench.app, listener),
        httpx.Client(trust_env=False) as http,
    ):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        request = generate(PositivePrompts=[PROMPT], request_uuid="u-1")
        uid = send(request).json()["TaskUID"]
        own = {"Action": "ListModels", "PublicKey": public}
        answer = http.post(url, json={**own, "Signature": signature(own, private)})
        assert answer.json()["RetCode"] == 0
        assert "server" not in answer.headers
        bench.run(uid, [0])
        [image_url] = bench.detail(uid)["ImgList"]
        query = image_url.partition("?")[2]
        assert http.get(f"{url}results/{uid}/0.png?{query}").status_code == 200
        assert http.get(f"{url}results/{uid}/1.png?{query}").status_code == 404
        for changes in (
            {"Signature": "f" * 40},
            {"PublicKey": "mallory"},
            {"PublicKey": KEYS["alice"]},  # a mistake that users make
            {"ImageList": [as_base64(b"\x89PNG not really")]},
        ):
            assert send(request, **changes).json()["RetCode"] != 0
        assert http.post(url, content=json.dumps(signed(request))[:-9]).json()["RetCode"] == 230
        other = open_database(f"sqlite:///{tmp_path / 'tasks.sqlite3'}")
        with other.write():
            assert send(request).json()["RetCode"] == 2001
        other.close()
        with bench.store.database.write() as connection:
            connection.execute(text("alter table tasks rename column seed to grain"))
        assert send(request).status_code == 500

    records = [each for each in caplog.records if not each.name.startswith(CLIENT_SIDE)]
    formatter = logging.Formatter()
    lines = "\n".join(map(formatter.format, records)) + "".join(capfd.readouterr())
    assert "Traceback" in lines
    assert "grain" in lines or "no column named seed" in lines, "the crash itself is logged"
    for secret in (private, *KEYS.values(), *seen, query, as_base64(png())[:40], PROMPT):
        assert secret not in lines
    assert not re.search("[0-9a-f]{40}", lines), "something like a signature or a key"
    bench.store.close()


def test_a_statement_that_fails_shows_no_parameters(bench: Bench):
    with bench.store.database.write() as connection:
        connection.execute(text("alter table api_keys rename column label to mark"))
    with pytest.raises(TaskStoreError) as failed:
        KeyRing(bench.store.database).add("shop")
    shown = "".join(traceback.format_exception(failed.value))
    assert "INSERT INTO api_keys" in shown
    assert not re.search("[0-9a-f]{24}", shown)
