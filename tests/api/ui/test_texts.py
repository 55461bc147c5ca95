"""What the page offers for repeating a request does repeat it, to the signature."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.ui import texts
from api.ui.choices import Choices
from api.ui.painting import KeyPair, Painter, Run
from api.ui.shelf import Shelf
from backdrop import client as client_module
from backdrop.client import Client
from tests.api.bench import Bench
from tests.api.wire import KEYS, png, signature

BASE = "http://testserver"
KEY_PAIR = KeyPair("alice", KEYS["alice"])


@pytest.fixture
def choices(tmp_path: Path) -> Choices:
    files = {"cup's.png": png(), "lake.png": png(mode="RGB")}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return Choices(
        str(tmp_path / "cup's.png"),
        64,
        80,
        reference=str(tmp_path / "lake.png"),
        refer_strength=0.35,
        prompts='blue "sky"\ncafé 蓝天',
        cfg_scale=3.0,
        seed=5,
    )


@pytest.fixture
def sent(bench: Bench) -> list[bytes]:
    """Bodies of all GenerateBackgrounds requests that reach the service."""
    bodies: list[bytes] = []

    def note(request: httpx.Request) -> None:
        body = request.read()
        if b"GenerateBackgrounds" in body:
            bodies.append(body)

    bench.caller.http.event_hooks["request"].append(note)
    return bodies


@pytest.fixture
def run(bench: Bench, choices: Choices, sent: list[bytes], tmp_path: Path) -> Run:
    painter = Painter(BASE, BASE, Shelf(tmp_path / "shelf", keep_s=60))
    client = Client(BASE, "alice", KEYS["alice"], http=bench.caller.http)
    made = painter.submit(client, KEY_PAIR, choices)
    assert len(sent) == 1
    return made


def test_the_file_holds_the_text_that_was_sent_to_the_byte(run: Run, sent: list[bytes]):
    text = Path(run.request_file).read_bytes()
    assert text == sent[0]
    body = json.loads(text)
    assert body["Signature"] == signature(body, KEYS["alice"])
    assert KEYS["alice"].encode() not in text


def test_the_shown_json_differs_in_the_length_of_its_images_alone(run: Run):
    exact, shown = json.loads(Path(run.request_file).read_bytes()), json.loads(run.shown_json)
    assert len(shown["ImageList"]) == len(exact["ImageList"]) == 2
    for shortened, image in zip(shown.pop("ImageList"), exact.pop("ImageList"), strict=True):
        assert shortened.startswith(image[: texts.SHOWN_CHARS] + "...")
        assert len(shortened) < 100
    assert shown == exact


def test_the_curl_text_sends_the_file_and_asks_for_the_task(bench: Bench, run: Run):
    assert KEYS["alice"] not in run.curl
    commands = [shlex.split(line) for line in run.curl.splitlines() if line.startswith("curl")]
    assert [command[1] for command in commands] == [f"{BASE}/"] * 2
    assert commands[0][-1] == f"@{texts.REQUEST_FILE}"
    answer = bench.caller.post(commands[1][-1].encode())
    assert [task["TaskUID"] for task in answer["TaskDetailList"]] == [run.uid]


def test_the_python_text_makes_the_same_signature(
    bench: Bench, run: Run, sent: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def through_the_test(*arguments: Any) -> Client:
        return Client(*arguments, http=bench.caller.http)

    assert KEYS["alice"] not in run.python
    monkeypatch.setenv("BACKDROP_PRIVATE_KEY", KEYS["alice"])
    monkeypatch.setattr(client_module, "Client", through_the_test)
    monkeypatch.setattr(Client, "wait", lambda _self, uid, **_options: uid)
    monkeypatch.setattr(Client, "save", lambda _self, uid, _folder: [uid])
    monkeypatch.chdir(tmp_path)
    exec(compile(run.python, "shown.py", "exec"), {})
    assert sent[1] == sent[0]
