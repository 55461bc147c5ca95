from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from api import webhook_sender
from api.schema import webhooks
from api.settings import Settings
from api.webhook_queue import MAX_ATTEMPTS, Webhook, WebhookQueue, retry_delay_s
from api.webhook_sender import sending_webhooks
from tests.api.bench import Bench
from tests.api.wire import KEYS, assert_refused, generate, signature

URL = "http://example.com/hook"


class Receiver(ThreadingHTTPServer):
    """A receiver that answers with `statuses` in turn, then 200, and remembers what it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses: list[int] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?a=1"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.headers.append({"path": self.path, **self.headers})
        self.server.bodies.append(json.loads(body))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", self.server.url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.shutdown()
    receiver.server_close()


@pytest.fixture
def hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(webhook_sender, "POLL_S", 0.02)
    bench = Bench(tmp_path, webhooks=True, webhook_networks="127.0.0.0/8")
    yield bench
    bench.store.close()


def pending(bench: Bench) -> list[str]:
    with bench.store.database.read() as connection:
        return list(connection.scalars(select(webhooks.c.task_uid)))


def make_due(bench: Bench) -> None:
    with bench.store.database.write() as connection:
        connection.execute(update(webhooks).values(due_at=0))


def wait_for(condition: Any, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# What is sent ------------------------------------------------------------------------------------


def test_an_ended_task_is_told_once_signed_like_a_request(hooked: Bench, receiver: Receiver):
    uid = hooked.submit(WebhookUrl=receiver.url, BatchSize=2)
    with sending_webhooks(hooked.app.state.service):
        time.sleep(0.1)
        assert receiver.bodies == []
        hooked.run(uid, [0, 1])
        wait_for(lambda: pending(hooked) == [])
    [body] = receiver.bodies
    assert body["Signature"] == signature(body, KEYS["alice"])
    assert (body["Action"], body["PublicKey"]) == ("TaskEnded", "alice")
    assert abs(body["Timestamp"] - time.time()) < 60
    assert body["TaskDetail"] == hooked.detail(uid)
    [headers] = receiver.headers
    assert headers["Host"] == f"127.0.0.1:{receiver.server_port}"
    assert (headers["path"], headers["Content-Type"]) == ("/hook?a=1", "application/json")


def test_a_task_that_asked_for_nothing_calls_nobody(hooked: Bench):
    hooked.run(hooked.submit(), [0])
    assert pending(hooked) == []


@pytest.mark.parametrize("status", [500, 404, 302])
def test_a_refused_call_is_made_again_later_even_by_another_process(
    hooked: Bench, receiver: Receiver, status: int
):
    receiver.statuses = [status]
    uid = hooked.submit(WebhookUrl=receiver.url)
    hooked.store.cancel(uid, tenant="alice")
    with sending_webhooks(hooked.app.state.service):
        wait_for(lambda: len(receiver.bodies) == 1)
        time.sleep(0.1)
    assert pending(hooked) == [uid]
    make_due(hooked)
    with sending_webhooks(hooked.app.state.service):
        wait_for(lambda: pending(hooked) == [])
    assert [body["TaskDetail"]["ErrorCode"] for body in receiver.bodies] == [1206, 1206]


def test_410_ends_the_calls(hooked: Bench, receiver: Receiver):
    receiver.statuses = [410]
    hooked.store.cancel(hooked.submit(WebhookUrl=receiver.url), tenant="alice")
    with sending_webhooks(hooked.app.state.service):
        wait_for(lambda: pending(hooked) == [])
    assert len(receiver.bodies) == 1


def test_after_the_last_attempt_there_is_none(hooked: Bench, receiver: Receiver):
    receiver.statuses = [500]
    hooked.store.cancel(hooked.submit(WebhookUrl=receiver.url), tenant="alice")
    with hooked.store.database.write() as connection:
        connection.execute(update(webhooks).values(attempts=MAX_ATTEMPTS - 1))
    with sending_webhooks(hooked.app.state.service):
        wait_for(lambda: len(receiver.bodies) == 1)
        make_due(hooked)
        wait_for(lambda: pending(hooked) == [])
    assert len(receiver.bodies) == 1


@pytest.mark.parametrize("host", ["x" * 300, "a..b", "no-such-host.invalid"])
def test_a_name_that_cannot_be_resolved_is_tried_again(hooked: Bench, host: str):
    uid = hooked.submit(WebhookUrl=f"http://{host}/")
    hooked.store.cancel(uid, tenant="alice")
    with sending_webhooks(hooked.app.state.service):
        wait_for(lambda: taken_attempts(hooked) == 1)
    assert pending(hooked) == [uid]


def test_a_receiver_that_never_answers_holds_nobody_up(
    hooked: Bench, receiver: Receiver, monkeypatch
):
    monkeypatch.setattr(webhook_sender, "TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        silent = hooked.submit(WebhookUrl=f"http://127.0.0.1:{port}/")
        hooked.store.cancel(silent, tenant="alice")
        quick = hooked.submit(WebhookUrl=receiver.url)
        hooked.store.cancel(quick, tenant="alice")
        with sending_webhooks(hooked.app.state.service):
            wait_for(lambda: pending(hooked) == [silent])
            time.sleep(0.4)
        assert pending(hooked) == [silent]


def test_the_guard_looks_at_every_call_not_only_at_the_request(hooked: Bench, receiver: Receiver):
    """A name passes at submission; what it means is known only when it is called."""
    url = receiver.url.replace("127.0.0.1", "localhost")
    hooked.store.cancel(hooked.submit(WebhookUrl=url), tenant="alice")
    service = hooked.app.state.service
    sender = webhook_sender.WebhookSender(service)
    sender._networks = []
    thread = threading.Thread(target=sender.run)
    thread.start()
    wait_for(lambda: taken_attempts(hooked) == 1)
    time.sleep(0.1)
    sender.stop()
    thread.join()
    assert receiver.bodies == []
    assert len(pending(hooked)) == 1


def taken_attempts(bench: Bench) -> int:
    with bench.store.database.read() as connection:
        return connection.execute(select(webhooks.c.attempts)).scalar_one()


def test_a_name_is_asked_once_and_the_call_goes_to_that_answer(
    hooked: Bench, receiver: Receiver, monkeypatch
):
    asked: list[str] = []
    getaddrinfo = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host != "rebinding.example":
            return getaddrinfo(host, port, *args, **options)
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    url = f"http://rebinding.example:{receiver.server_port}/"
    hooked.store.cancel(hooked.submit(WebhookUrl=url), tenant="alice")
    with sending_webhooks(hooked.app.state.service):
        wait_for(lambda: pending(hooked) == [])
    assert asked == ["rebinding.example"]
    assert receiver.headers[0]["Host"] == f"rebinding.example:{receiver.server_port}"


def test_a_forgotten_task_or_key_calls_nobody(hooked: Bench, receiver: Receiver, monkeypatch):
    service = hooked.app.state.service
    service.webhooks.add("forgotten", receiver.url)
    hooked.store.cancel(hooked.submit(WebhookUrl=receiver.url), tenant="alice")
    monkeypatch.setattr(service.keys, "private_key", lambda _key: None)
    with sending_webhooks(service):
        wait_for(lambda: pending(hooked) == [])
    assert receiver.bodies == []


# What is accepted --------------------------------------------------------------------------------


def test_webhooks_are_off_unless_switched_on(shared: Bench):
    answer = shared.caller.ask(generate(WebhookUrl=URL))
    assert_refused(answer, 230, "[WebhookUrl]")
    with sending_webhooks(shared.app.state.service):
        assert "webhooks" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    "url", ["nowhere", "ftp://example.com", "http://10.0.0.1/", "http://[::1]/", "x" * 2001, 7]
)
def test_a_url_that_cannot_be_called_is_refused_before_any_task_is_made(hooked: Bench, url):
    assert_refused(hooked.caller.ask(generate(WebhookUrl=url)), 230, "[WebhookUrl]")
    assert hooked.caller.call(Action="ListRunningTasks")["TaskUIDList"] == []


def test_a_network_that_is_none_stops_the_start():
    with pytest.raises(ValueError, match="webhook_networks"):
        Settings(webhook_networks="10.1.2.3/8")
    settings = Settings(webhook_networks="10.1.0.0/16,fd00::/8,192.168.7.9")
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


# The queue ---------------------------------------------------------------------------------------


def test_a_call_is_counted_before_it_is_made_and_nobody_else_gets_it(hooked: Bench):
    uid = hooked.submit(WebhookUrl=URL)
    queue = WebhookQueue(hooked.store.database)
    assert queue.take(9) == []
    hooked.store.cancel(uid, tenant="alice")
    assert queue.take(9) == [Webhook(uid, URL, 1)]
    assert queue.take(9) == []
    make_due(hooked)
    assert queue.take(9) == [Webhook(uid, URL, 2)]


def test_retries_wait_longer_each_time_and_last_for_hours():
    delays = [retry_delay_s(attempts) for attempts in range(1, MAX_ATTEMPTS)]
    assert delays == sorted(delays)
    assert delays[:3] == [10, 30, 90]
    assert 3600 < sum(delays) < 4 * 3600
