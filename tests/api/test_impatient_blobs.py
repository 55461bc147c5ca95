"""Requests and an object store that accepts connections and says nothing: nobody is held long."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from api.blobs import BlobUnavailable, LocalBlobs, for_requests, open_blobs
from api.blobs.impatient import ImpatientBlobs
from api.server import http_server, listen
from api.settings import Settings
from tests.api.bench import Bench
from tests.api.blob_contract import BlobStoreContract
from tests.api.s3_server import S3Server, Wire, s3_fields, s3_settings
from tests.api.wire import assert_refused, checked, generate, png, signed

ANSWER_S = 0.5
HELD_S = 2 * ANSWER_S + 4.0  # and what a busy machine adds; the store's own timeouts are 30 s
STORES_OWN = {"s3_timeout_s": 20.0, "s3_retry_s": 10.0}
_numbers = itertools.count()


def impatient(port: int, answer_s: float) -> ImpatientBlobs:
    settings = s3_settings(port, f"impatient/{next(_numbers)}", s3_answer_s=answer_s, **STORES_OWN)
    blobs = for_requests(open_blobs(settings), settings)
    assert isinstance(blobs, ImpatientBlobs)
    return blobs


class TestImpatientBlobs(BlobStoreContract):
    """The contract, on a store that answers."""

    @pytest.fixture
    def blobs(self, s3_server: S3Server) -> ImpatientBlobs:
        return impatient(s3_server.port, 10.0)


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def refused_after_s(call: Callable[[], object]) -> float:
    started = time.monotonic()
    with pytest.raises(BlobUnavailable, match="does not answer"):
        call()
    return time.monotonic() - started


def works(call: Callable[[], object]) -> bool:
    try:
        call()
    except BlobUnavailable:
        return False
    return True


def test_a_frozen_store_is_given_up_then_refused_at_once_and_used_again(s3_server: S3Server):
    blobs = impatient(s3_server.port, ANSWER_S)
    blobs.put("a", b"x")
    calls = (
        lambda: blobs.put("b", b"x"),
        lambda: blobs.get("a"),
        lambda: blobs.delete(["a"]),
        lambda: blobs.folders("in"),
        lambda: list(blobs.keys("in")),
        lambda: blobs.tidy("in"),
    )
    with s3_server.frozen():
        assert refused_after_s(calls[0]) < HELD_S
        began = time.monotonic()
        for call in calls:
            refused_after_s(call)
        assert time.monotonic() - began < ANSWER_S
    until(lambda: works(lambda: blobs.get("a")))
    assert blobs.get("a") == b"x"


def test_all_who_wait_when_it_freezes_are_let_go_together(s3_server: S3Server):
    blobs = impatient(s3_server.port, ANSWER_S)
    blobs.put("a", b"x")
    with s3_server.frozen(), ThreadPoolExecutor(30) as pool:
        gets = [pool.submit(refused_after_s, lambda: blobs.get("a")) for _ in range(30)]
        assert max(each.result() for each in gets) < HELD_S
    until(lambda: works(lambda: blobs.get("a")))


def test_a_store_that_is_gone_is_one_that_does_not_answer(wire: Wire):
    """Its refusals are repeated for `s3_retry_s`, which no request waits for."""
    blobs = impatient(wire.port, ANSWER_S)
    blobs.put("a", b"x")
    wire.be(refusals=-1)
    assert refused_after_s(lambda: blobs.get("a")) < HELD_S
    wire.be()
    until(lambda: works(lambda: blobs.get("a")))


def test_a_slow_blob_is_waited_for_while_the_store_answers_others(wire: Wire):
    blobs = impatient(wire.port, ANSWER_S)
    wire.be(delay_s=5 * ANSWER_S)
    with ThreadPoolExecutor(1) as pool:
        before = wire.num_connections
        slow = pool.submit(blobs.put, "a", b"x")
        until(lambda: wire.num_connections > before)  # its delay has begun
        wire.delay_s = 0.0
        blobs.put("b", b"y")
        slow.result()
    assert (blobs.get("a"), blobs.get("b")) == (b"x", b"y")


def test_a_folder_is_taken_as_it_is(tmp_path: Path):
    settings = Settings(data_dir=tmp_path)
    assert isinstance(for_requests(open_blobs(settings), settings), LocalBlobs)


# Requests ----------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path: Path, s3_server: S3Server) -> Iterator[Bench]:
    bench = Bench(tmp_path, **s3_fields(s3_server.port, s3_answer_s=ANSWER_S, **STORES_OWN))
    yield bench
    bench.store.close()


@pytest.fixture
def http(bench: Bench) -> Iterator[httpx.Client]:
    """To the bench behind a real server."""
    limits = httpx.Limits(max_connections=100)
    with listen("127.0.0.1", 0) as listener, http_server(bench.app, listener):
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=base_url, timeout=60, trust_env=False, limits=limits) as http:
            yield http


def path_of_an_image(bench: Bench) -> str:
    uid = bench.submit(BatchSize=1)
    bench.run(uid, [0])
    [url] = bench.detail(uid)["ImgList"]
    return "/" + url.split("/", 3)[3]


def test_polls_go_on_while_uploads_and_downloads_are_refused(
    bench: Bench, http: httpx.Client, s3_server: S3Server
):
    path, waiting = path_of_an_image(bench), bench.submit()
    upload = signed(generate(PositivePrompts=["blue sky"]))

    def timed(call: Callable[[], httpx.Response]) -> tuple[float, httpx.Response]:
        started = time.monotonic()
        answer = call()
        return time.monotonic() - started, answer

    with s3_server.frozen(), ThreadPoolExecutor(60) as pool:
        downloads = [pool.submit(timed, lambda: http.get(path)) for _ in range(50)]
        uploads = [pool.submit(timed, lambda: http.post("/", json=upload)) for _ in range(8)]
        for held_s, answer in (each.result() for each in downloads):
            assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
            assert held_s < HELD_S
        for held_s, answer in (each.result() for each in uploads):
            assert_refused(checked(answer.json()), 2001)
            assert int(answer.headers["Retry-After"]) > 0
            assert held_s < HELD_S
        poll = signed({"Action": "ListTasksDetails", "TaskUIDList": [waiting]})
        assert http.post("/", json=poll).json()["TaskDetailList"][0]["Status"] == "Queuing"
        held_s, answer = timed(lambda: http.post("/", json=upload))
        assert_refused(checked(answer.json()), 2001)
        assert held_s < ANSWER_S

    until(lambda: http.get(path).status_code == 200)
    assert http.get(path).content == png(64, 64, "RGB")
    assert bench.store.depth() == 1, "no task was stored that was answered 2001"


def test_what_was_accepted_around_a_freeze_is_there_whole(
    bench: Bench, http: httpx.Client, s3_server: S3Server
):
    accepted: list[str] = []
    refusals: list[int] = []
    over = threading.Event()

    def order() -> None:
        while not over.is_set():
            answer = checked(http.post("/", json=signed(generate())).json())
            if answer["RetCode"] == 0:
                accepted.append(answer["TaskUID"])
            else:
                refusals.append(answer["RetCode"])
                time.sleep(0.05)

    with ThreadPoolExecutor(4) as pool:
        orders = [pool.submit(order) for _ in range(4)]
        try:
            until(lambda: len(accepted) >= 4)
            with s3_server.frozen():
                until(lambda: len(refusals) >= 4)
            before = len(accepted)
            until(lambda: len(accepted) >= before + 4)  # by itself
        finally:
            over.set()
        for each in orders:
            each.result()
    assert set(refusals) == {2001}
    assert bench.store.depth() == len(accepted)
    stored = open_blobs(bench.settings)
    for uid in accepted:
        assert stored.get(bench.record(uid).inputs["foreground"]) == png()
