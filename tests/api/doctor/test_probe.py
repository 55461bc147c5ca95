from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.doctor.command import probe
from api.doctor.finding import Verdict
from api.doctor.rules import FREE_RULES
from api.doctor.talk import Rule, Talk
from api.server import http_server, listen
from tests.api.bench import Bench
from tests.api.wire import KEYS


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    bench = Bench(tmp_path_factory.mktemp("probed"))
    with listen("127.0.0.1", 0) as listener, http_server(bench.app, listener):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        bench.app.state.service.event_urls._base_url = url
        yield url
    bench.store.close()


def test_this_server_has_every_documented_behaviour(base_url: str):
    findings = list(probe(base_url, "alice", KEYS["alice"], generate=False))
    assert len(findings) == len(FREE_RULES) + 1
    assert [finding for finding in findings if finding.verdict is not Verdict.OK] == []


def test_nothing_that_could_cost_is_sent_unless_asked(base_url: str):
    actions: list[Any] = []

    def look(request: httpx.Request) -> None:
        if request.method == "POST":
            actions.append(json.loads(request.content).get("Action"))

    with httpx.Client(base_url=f"{base_url}/", event_hooks={"request": [look]}) as http:
        for rule in FREE_RULES:
            rule.judge(Talk(http, "alice", KEYS["alice"]))
    assert "ListModels" in actions
    assert "GenerateBackgrounds" not in actions


def test_a_key_that_does_not_fit_fails_what_needs_it(base_url: str):
    findings = list(probe(base_url, "alice", "wrong", generate=False))
    assert any("expected 0, got 171" in finding.detail for finding in findings)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://127.0.0.1:9", "ConnectError"),
        ("127.0.0.1:9", "UnsupportedProtocol"),
        ("http://[::1", "http://[::1"),
        ("http://host:port", "port"),
    ],
)
def test_a_server_that_is_not_there_is_told_once(url: str, text: str):
    [finding] = probe(url, "alice", "x", generate=False)
    assert (finding.verdict, text in finding.detail) == (Verdict.FAIL, True)


# Every rule can fail -----------------------------------------------------------------------------


def constant(**answer: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _request: httpx.Response(200, json=answer)


BAD_SERVERS = [
    constant(RetCode=0, Action="x", Message="fine", request_uuid="another"),
    constant(RetCode=171, Action="x", Message=""),
    lambda _request: httpx.Response(500, text="<html>"),
    lambda _request: httpx.Response(200, text="<html>"),
    constant(RetCode="0"),
]


@pytest.mark.parametrize("rule", FREE_RULES, ids=lambda rule: rule.name)
def test_every_rule_fails_somewhere(rule: Rule):
    verdicts = set()
    for server in BAD_SERVERS:
        with httpx.Client(transport=httpx.MockTransport(server), base_url="http://bad/") as http:
            verdicts.add(rule.judge(Talk(http, "alice", "x")).verdict)
    assert (Verdict.NOTE if rule.is_addition else Verdict.FAIL) in verdicts


def test_a_damaged_answer_is_a_finding_and_no_crash(tmp_path: Path):
    bench = Bench(tmp_path)

    def without_spelling(request: httpx.Request) -> httpx.Response:
        answer = bench.caller.http.post("/", content=request.content).json()
        for detail in answer.get("TaskDetailList", ()):
            detail.pop("ErrorMassage", None)
        return httpx.Response(200, json=answer)

    [rule] = [rule for rule in FREE_RULES if "ErrorMassage" in rule.name]
    with httpx.Client(
        transport=httpx.MockTransport(without_spelling), base_url="http://x/"
    ) as http:
        finding = rule.judge(Talk(http, "alice", KEYS["alice"]))
    assert (finding.verdict, finding.detail) == (Verdict.FAIL, "TaskDetail has no ErrorMassage")
    bench.store.close()
