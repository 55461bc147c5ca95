"""`wait` against the real server: its event stream first, polls where that says nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from api import task_watch
from api.actions import ACTIONS
from api.server import http_server, listen
from api.tasks import Claimant, Lease
from backdrop.client import AsyncClient, Client, Task, errors, flows, waiting
from backdrop.client.events import Event, EventReader
from backdrop.client.waiting import Waiting
from tests.api.bench import Bench
from tests.api.s3_server import Wire
from tests.api.wire import KEYS

POLL, WATCH, STREAM = "ListTasksDetails", "WatchTask", "events"


class Caller:
    """`wait` of either client, and the requests that it made."""

    def __init__(self, bench: Bench, base_url: str, kind: str) -> None:
        self.bench = bench
        self.requests: list[str] = []
        self._kind = kind
        self._arguments = (base_url, "alice", KEYS["alice"])
        if kind == "sync":
            hooks: Any = {"request": [self._note]}
            self._http = httpx.Client(trust_env=False, event_hooks=hooks)
            self._client = Client(*self._arguments, http=self._http)

    def wait(self, uid: str, **options: Any) -> Task:
        if self._kind == "sync":
            return self._client.wait(uid, **options)
        return self._await(uid, options)

    def close(self) -> None:
        if self._kind == "sync":
            self._http.close()

    def _await(self, uid: str, options: dict[str, Any]) -> Task:
        async def note(request: httpx.Request) -> None:
            self._note(request)

        async def wait() -> Task:
            hooks: Any = {"request": [note]}
            async with (
                httpx.AsyncClient(trust_env=False, event_hooks=hooks) as http,
                AsyncClient(*self._arguments, http=http) as client,
            ):
                return await client.wait(uid, **options)

        return anyio.run(wait)

    def _note(self, request: httpx.Request) -> None:
        is_stream = request.url.path.startswith("/events/")
        self.requests.append(STREAM if is_stream else json.loads(request.content)["Action"])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Bench, Wire, str]]:
    """A bench behind a real server, reached through a wire that can be cut."""
    with listen("127.0.0.1", 0) as listener:
        wire = Wire(listener.getsockname()[1])
        base_url = f"http://127.0.0.1:{wire.port}"
        bench = Bench(tmp_path, public_base_url=base_url)
        watch = bench.app.state.service.watch
        watch._poll_s, watch._heartbeat_s = 0.02, 0.1
        with http_server(bench.app, listener):
            yield bench, wire, base_url
            watch.close()
        wire.close()
        bench.store.close()


@pytest.fixture(params=["sync", "async"])
def caller(served, request: pytest.FixtureRequest) -> Iterator[Caller]:
    bench, _, base_url = served
    caller = Caller(bench, base_url, request.param)
    yield caller
    caller.close()


def num_streams(caller: Caller) -> int:
    streams: int = caller.bench.app.state.service.watch.num_streams
    return streams


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def begun(call: Callable[[], Task]) -> Future[Task]:
    """`call` on another thread."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return future


def claimed(bench: Bench, uid: str) -> Lease:
    [record] = bench.store.claim(Claimant("w"), limit=1, lease_s=60)
    assert record.uid == uid
    return Lease(uid, "w", record.token)


# The stream --------------------------------------------------------------------------------------


def test_a_task_is_followed_with_three_requests_however_long_it_takes(caller: Caller):
    bench = caller.bench
    uid = bench.submit(BatchSize=1, Seed=7)
    seen: list[Task] = []
    lease: list[Lease] = []

    def on_progress(task: Task) -> None:
        """The worker's part: each news is answered by the next."""
        seen.append(task)
        if task.status == "Queuing":
            lease.append(claimed(bench, uid))
        elif task.progress < 0.5:
            bench.store.beat(lease, lease_s=60, progress={uid: (0.5, "denoising")})
        elif not task.has_ended:
            bench.store.end_canceled(lease[0])

    with pytest.raises(errors.TaskCanceled):
        caller.wait(uid, on_progress=on_progress)
    assert caller.requests == [POLL, WATCH, STREAM]
    assert [task.status for task in seen] == ["Queuing", "Running", "Running", "Error"]
    assert (seen[2].stage, seen[2].steps_done, seen[2].steps_total) == ("denoising", 6, 12)
    assert {task.seed for task in seen} == {7}, "what the stream does not repeat is kept"
    until(lambda: num_streams(caller) == 0)


def test_the_end_of_a_stream_is_the_whole_task(caller: Caller):
    bench = caller.bench
    uid = bench.submit(BatchSize=2, PositivePrompts=["blue\u2028sky", "line\x85end"])
    waits = begun(lambda: caller.wait(uid))
    until(lambda: num_streams(caller) == 1)
    bench.run(uid, [0, 1])
    task = waits.result(30)
    assert task == Task.from_wire(bench.detail(uid))
    assert (len(task.image_urls), task.prompts_used) == (2, ("blue\u2028sky", "line\x85end"))
    assert caller.requests == [POLL, WATCH, STREAM]


def test_a_task_that_has_ended_is_not_followed(caller: Caller):
    uid = caller.bench.submit()
    caller.bench.run(uid, [0])
    assert caller.wait(uid).status == "Finished"
    assert caller.requests == [POLL]


def test_an_error_of_the_caller_ends_the_stream(caller: Caller):
    uid = caller.bench.submit()

    def on_progress(task: Task) -> None:
        if task.status == "Running":
            raise ZeroDivisionError
        threading.Timer(0.2, claimed, (caller.bench, uid)).start()

    with pytest.raises(ZeroDivisionError):
        caller.wait(uid, on_progress=on_progress)
    assert caller.requests[-1] == STREAM
    until(lambda: num_streams(caller) == 0)


# Where it breaks ---------------------------------------------------------------------------------


def test_a_stream_that_is_cut_is_followed_anew(caller: Caller, served):
    _, wire, _ = served
    bench = caller.bench
    uid = bench.submit()
    waits = begun(lambda: caller.wait(uid))
    until(lambda: num_streams(caller) == 1)
    wire.be()
    until(lambda: caller.requests.count(STREAM) == 2 and num_streams(caller) == 1)
    bench.run(uid, [0])
    assert waits.result(30).status == "Finished"
    assert caller.requests == [POLL, WATCH, STREAM] * 2


def test_a_stream_that_falls_silent_is_given_up(caller: Caller, monkeypatch):
    for module in (flows, waiting):
        monkeypatch.setattr(module, "SILENCE_S", 1.0)
    bench = caller.bench
    bench.app.state.service.watch._heartbeat_s = 15.0
    uid = bench.submit()
    waits = begun(lambda: caller.wait(uid))
    until(lambda: caller.requests.count(STREAM) >= 2)
    bench.run(uid, [0])
    assert waits.result(30).status == "Finished"


def test_a_server_without_streams_is_asked_for_them_once(caller: Caller, monkeypatch):
    monkeypatch.delitem(ACTIONS, WATCH)
    bench = caller.bench
    for _ in range(2):
        uid, before = bench.submit(), len(caller.requests)
        waits = begun(lambda uid=uid: caller.wait(uid))
        until(lambda before=before: caller.requests[before:][-2:] == [POLL, POLL])
        bench.run(uid, [0])
        assert waits.result(30).status == "Finished"
    asked = 1 if caller._kind == "sync" else 2  # there each wait has a client of its own
    assert (caller.requests.count(WATCH), caller.requests.count(STREAM)) == (asked, 0)


def test_a_server_that_takes_no_more_streams_is_polled(caller: Caller, monkeypatch):
    monkeypatch.setattr(task_watch, "MAX_STREAMS", 0)
    bench = caller.bench
    uid = bench.submit()
    waits = begun(lambda: caller.wait(uid))
    until(lambda: len(caller.requests) >= 5)
    bench.run(uid, [0])
    assert waits.result(30).status == "Finished"
    assert caller.requests[:3] == [POLL, WATCH, STREAM]
    assert {*caller.requests[3:]} == {POLL}


# Time --------------------------------------------------------------------------------------------


def test_a_short_time_is_polled_through(caller: Caller):
    uid = caller.bench.submit()
    with pytest.raises(errors.WaitTimeout):
        caller.wait(uid, timeout_s=0.5)
    assert {*caller.requests} == {POLL}


def test_a_stream_does_not_outlast_the_time(caller: Caller, monkeypatch):
    for module in (flows, waiting):
        monkeypatch.setattr(module, "SILENCE_S", 0.4)
    uid = caller.bench.submit()
    started = time.monotonic()
    with pytest.raises(errors.WaitTimeout, match=r"Queuing after 1\.5 s"):
        caller.wait(uid, timeout_s=1.5)
    assert 1.5 <= time.monotonic() - started < 5
    assert caller.requests[:3] == [POLL, WATCH, STREAM]
    assert caller.requests[-1] == POLL


# Without a server --------------------------------------------------------------------------------

TEXT = (
    b"retry: 2000\n\n: still here\n\nevent: progress\r\ndata: {\r\ndata: }\r\n\r\n"
    b"id: end\nevent: end\ndata:\xe2\x80\xa8\n\n"
)
EVENTS = [Event("progress", "{\n}"), Event("end", "\u2028")]


@pytest.mark.parametrize("size", [1, 2, 7, len(TEXT)])
def test_events_come_in_pieces_of_any_size(size: int):
    reader = EventReader()
    pieces = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
    assert [event for piece in pieces for event in reader.read(piece)] == EVENTS


@pytest.mark.parametrize(
    "said",
    [
        b"<html>\n\n",
        b"event: end\ndata: {no json\n\n",
        b"event: end\ndata: [1]\n\n",
        b'event: end\ndata: {"TaskUID": "other", "Status": "Finished"}\n\n',
        b'event: progress\ndata: {"TaskUID": "u", "Status": "Finished"}\n\n',
        b"event: end\ndata: \xff\n\n",
    ],
)
def test_what_something_else_says_is_not_believed(said: bytes):
    followed = Waiting("u", on_progress=None, timeout_s=None)
    followed.see(Task("u", "Running"))
    followed.begin_stream()
    followed.hear(said)
    assert (followed.task.status, followed.was_heard, followed.result()) == ("Running", False, None)
