from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import event_urls, task_watch
from api.errors import StoreUnavailable
from api.event_urls import EventUrls
from api.server import http_server, listen
from api.task_watch import MAX_STREAMS, TaskWatch
from api.tasks import Claimant, Lease
from tests.api.bench import Bench
from tests.api.test_previews import LOOKS, WIRE, show, started


class Served:
    """A bench behind a real HTTP server, since streams need one."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder)
        self.service = self.bench.app.state.service

    @property
    def watch(self) -> TaskWatch:
        return self.service.watch

    def url(self, uid: str, user: str = "alice") -> str:
        return self.bench.caller.call(user, Action="WatchTask", TaskUID=uid)["EventsUrl"]

    @contextmanager
    def events(self, uid: str, user: str = "alice") -> Iterator[Iterator[tuple[str, Any]]]:
        with self.http.stream("GET", self.url(uid, user)) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            yield parsed(response.iter_lines())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    served.watch._poll_s = 0.02
    with listen("127.0.0.1", 0) as listener, http_server(served.bench.app, listener):
        port = listener.getsockname()[1]
        served.service.event_urls._base_url = f"http://127.0.0.1:{port}"
        with httpx.Client(trust_env=False, timeout=20) as served.http:
            yield served
        served.watch.close()
    served.bench.store.close()


def parsed(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """(name, data) of each event and ("", None) of each heartbeat, as an EventSource reads them."""
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if line.startswith(":"):
            yield "", None
        elif field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_a_stream_tells_position_progress_and_end(served: Served):
    bench = served.bench
    first = bench.submit()
    uid = bench.submit()
    bench.store.cancel(first, tenant="alice")
    with served.events(uid) as events:
        name, data = next(events)
        assert (name, data["Status"], data["QueuePosition"]) == ("progress", "Queuing", 1)
        [claimed] = bench.store.claim(Claimant("w"), limit=1, lease_s=60)
        lease = Lease(uid, "w", claimed.token)
        name, data = next(events)
        assert (data["Status"], data["Stage"], data["QueuePosition"]) == ("Running", "preparing", 0)
        bench.store.beat([lease], lease_s=60, progress={uid: (0.5, "denoising")})
        name, data = next(events)
        assert (name, data["Progress"], data["Stage"]) == ("progress", 0.5, "denoising")
        assert (data["StepsDone"], data["StepsTotal"]) == (6, 12)
        bench.store.fail(lease, error_code=1205, error_text="why")
        assert next(events) == ("end", bench.detail(uid))
        assert list(events) == []
    wait_for(lambda: served.watch.num_streams == 0)


def test_a_stream_carries_the_previews_of_a_task_that_asked_for_them(served: Served):
    bench = served.bench
    uid = bench.submit(Preview=True, BatchSize=2)
    lease = started(bench, uid)
    with served.events(uid) as events:
        assert next(events)[0] == "progress"
        show(bench, lease, {0: LOOKS[0]}, 0.25)
        assert next_preview(events) == {"TaskUID": uid, "PreviewList": WIRE[:1]}
        show(bench, lease, LOOKS, 0.5)
        assert next_preview(events) == {"TaskUID": uid, "PreviewList": WIRE}
        show(bench, lease, LOOKS, 0.75)  # nothing new
        bench.store.end_canceled(lease)
        assert "preview" not in {name for name, _ in events}


def next_preview(events: Iterator[tuple[str, Any]]) -> Any:
    return next(data for name, data in events if name == "preview")


def test_a_stream_of_a_task_that_did_not_ask_has_none(served: Served):
    bench = served.bench
    uid = bench.submit()
    lease = started(bench, uid)
    with served.events(uid) as events:
        assert next(events)[0] == "progress"
        show(bench, lease, LOOKS, 0.25)
        assert next(events)[0] == "progress"
        bench.store.end_canceled(lease)
        assert [name for name, _ in events] == ["end"]


def test_a_finished_task_ends_its_stream_with_its_images(served: Served):
    uid = served.bench.submit(BatchSize=2)
    served.bench.run(uid, [0, 1])
    with served.events(uid) as events:
        [(name, data)] = events
    assert (name, data["Status"], len(data["ImgList"])) == ("end", "Finished", 2)
    stop = {"Last-Event-ID": "end"}
    assert served.http.get(served.url(uid), headers=stop).status_code == 204


def test_a_foreign_task_is_as_unknown_as_any(served: Served):
    uid = served.bench.submit()
    with served.events(uid, "bob") as foreign, served.events("0" * 20) as unknown:
        for events in (foreign, unknown):
            [(name, data)] = events
            assert (name, data["ErrorCode"]) == ("end", 1203)


def test_a_silent_stream_beats(served: Served):
    served.watch._heartbeat_s = 0.05
    with served.events(served.bench.submit()) as events:
        assert [next(events)[0] for _ in range(3)] == ["progress", "", ""]


def test_many_streams_share_one_look_and_hold_no_thread(served: Served):
    uids = [served.bench.submit() for _ in range(2)]
    looks = []
    look = served.watch._look
    served.watch._look = lambda uids: looks.append(sorted(uids)) or look(uids)  # type: ignore[method-assign]
    before = threading.active_count()
    opened = [served.http.send(request(served, uid), stream=True) for uid in uids * 20]
    try:
        wait_for(lambda: served.watch.num_streams == 40)
        seen = len(looks)
        wait_for(lambda: len(looks) >= seen + 3)
        assert looks[-1] == sorted(uids)
        assert threading.active_count() <= before + 5
    finally:
        for response in opened:
            response.close()
    wait_for(lambda: served.watch.num_streams == 0)
    wait_for(lambda: served.watch._poller.done())  # nothing is read while nobody watches


def request(served: Served, uid: str) -> httpx.Request:
    return served.http.build_request("GET", served.url(uid))


def test_a_service_that_stops_ends_its_streams_without_an_end_event(served: Served):
    with served.events(served.bench.submit()) as events:
        next(events)
        started = time.monotonic()
        served.watch.close()
        assert list(events) == []
        assert time.monotonic() - started < 5
    assert served.http.get(served.url("x")).status_code == 503


def test_a_stream_ends_when_its_url_expires(served: Served, monkeypatch):
    monkeypatch.setattr(event_urls, "KEEP_S", 2)
    served.watch._heartbeat_s = 0.05
    with served.events(served.bench.submit()) as events:
        assert "end" not in {name for name, _ in events}


def test_a_fault_of_the_store_delays_a_stream_and_ends_none(served: Served, monkeypatch):
    monkeypatch.setattr(task_watch, "RETRY_S", 0.02)
    look, faults = served.watch._look, iter([True, True])

    def faulty(uids: list[str]) -> Any:
        if next(faults, False):
            raise StoreUnavailable("away")
        return look(uids)

    served.watch._look = faulty  # type: ignore[method-assign]
    uid = served.bench.submit()
    with served.events(uid) as events:
        next(events)
        served.bench.store.cancel(uid, tenant="alice")
        assert next(events)[1]["ErrorCode"] == 1206


def test_a_store_that_is_away_at_the_end_cuts_the_stream_short(served: Served, monkeypatch):
    uid = served.bench.submit()
    with served.events(uid) as events:
        next(events)

        def away(*_args: object, **_options: object) -> Any:
            raise StoreUnavailable("away")

        monkeypatch.setattr(served.bench.store, "get_many", away)
        served.bench.store.cancel(uid, tenant="alice")
        assert list(events) == []


def test_too_many_streams_are_refused(served: Served, monkeypatch):
    monkeypatch.setattr(TaskWatch, "num_streams", MAX_STREAMS)
    response = served.http.get(served.url(served.bench.submit()))
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")


# URLs --------------------------------------------------------------------------------------------


def parts(url: str) -> dict[str, str]:
    parsed_url = httpx.URL(url)
    return {"uid": parsed_url.path.removeprefix("/events/"), **dict(parsed_url.params)}


def valid(urls: EventUrls, uid: str, key: str, expires: str, signature: str) -> bool:
    return urls.is_valid(uid, key, expires=expires, signature=signature)


def test_a_url_is_good_for_one_task_of_one_key():
    urls = EventUrls(b"secret", "http://h/")
    url, expires = urls.make("u", "alice")
    good = parts(url)
    assert valid(urls, **good)
    assert good["expires"] == str(expires)
    for change in (
        {"uid": "v"},
        {"key": "bob"},
        {"expires": str(expires + 1)},
        {"signature": "0" * 64},
        {"uid": "ua", "key": "lice"},
        {"expires": "soon"},
    ):
        assert not valid(urls, **{**good, **change}), change
    assert not valid(EventUrls(b"other", "http://h"), **good)


def test_a_url_expires(monkeypatch):
    monkeypatch.setattr(event_urls, "KEEP_S", -1)
    urls = EventUrls(b"secret", "http://h")
    assert not valid(urls, **parts(urls.make("u", "alice")[0]))


def test_a_changed_url_or_a_key_taken_back_gives_404(served: Served, monkeypatch):
    url = served.url(served.bench.submit())
    assert served.http.get(url.replace("alice", "bob")).status_code == 404
    monkeypatch.setattr(served.service.keys, "private_key", lambda _key: None)
    assert served.http.get(url).status_code == 404


def wait_for(condition: Any, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
