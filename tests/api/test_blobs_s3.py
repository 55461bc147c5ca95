"""The object store against a real S3 server, its failures included."""

from __future__ import annotations

import contextlib
import itertools
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from api.blobs import BlobNotFound, BlobStore, BlobUnavailable, DiskFull, open_blobs
from api.blobs.s3 import S3Blobs
from tests.api.blob_contract import BlobStoreContract
from tests.api.s3_server import S3Server, Wire, s3_settings

_numbers = itertools.count()


def s3_blobs(port: int, **changes: object) -> S3Blobs:
    blobs = open_blobs(s3_settings(port, f"test/{next(_numbers)}", **changes))
    assert isinstance(blobs, S3Blobs)
    return blobs


@pytest.fixture
def blobs(s3_server: S3Server) -> BlobStore:
    return s3_blobs(s3_server.port)


@pytest.fixture
def wired(wire: Wire) -> Iterator[S3Blobs]:
    """Through the wire."""
    return s3_blobs(wire.port)


class TestS3Blobs(BlobStoreContract):
    """The contract on an object store."""


def test_each_prefix_is_a_store_of_its_own(s3_server):
    one, two = (s3_blobs(s3_server.port) for _ in range(2))
    one.put("in/20260101/u/u.foreground", b"x")
    assert list(two.keys("in")) == []
    with pytest.raises(BlobNotFound):
        two.get("in/20260101/u/u.foreground")


def test_a_refused_request_is_repeated(wired, wire):
    wired.put("a", b"x")
    for use in (lambda: wired.put("a", b"y"), lambda: wired.get("a"), lambda: wired.delete(["a"])):
        wire.be(refusals=2)
        use()
        assert wire.refusals == 0
    with pytest.raises(BlobNotFound):
        wired.get("a")


@pytest.mark.parametrize("use", ["put", "get", "delete", "folders", "keys"])
def test_a_service_that_keeps_refusing_is_given_up_in_time(wire, use):
    wired = s3_blobs(wire.port, s3_retry_s=0.4)
    wired.put("a", b"x")
    wire.be(refusals=-1)
    calls = {
        "put": lambda: wired.put("a", b"y"),
        "get": lambda: wired.get("a"),
        "delete": lambda: wired.delete(["a"]),
        "folders": lambda: wired.folders("in"),
        "keys": lambda: list(wired.keys("in")),
    }
    started = time.monotonic()
    with pytest.raises(BlobUnavailable, match="503") as caught:
        calls[use]()
    assert time.monotonic() - started < 5
    assert not isinstance(caught.value, DiskFull)
    assert wire.num_connections > 2


def test_a_service_that_is_full_is_called_so(wired, wire):
    wire.refusal = wire.refusal.replace(b"503 Slow Down", b"507 Insufficient Storage")
    wire.be(refusals=-1)
    with pytest.raises(DiskFull):
        wired.put("a", b"x")


def test_a_slow_service_is_waited_for_but_not_for_ever(wire):
    blobs = s3_blobs(wire.port, s3_timeout_s=1.0, s3_retry_s=0.0)
    wire.be(delay_s=0.5)
    blobs.put("a", b"x")
    wire.be(delay_s=3.0)
    started = time.monotonic()
    for use in (lambda: blobs.put("b", b"x"), lambda: blobs.get("a")):
        with pytest.raises(BlobUnavailable):
            use()
    assert time.monotonic() - started < 3.5


def test_an_answer_that_breaks_off_is_no_shorter_blob(wired, wire):
    data = b"x" * 500_000
    wired.put("a", data)
    wire.be(cut_after_bytes=100_000)
    with contextlib.suppress(BlobUnavailable):
        assert wired.get("a") == data  # resumed
    wire.be()
    assert wired.get("a") == data


def test_a_frozen_server_is_given_up_in_time_and_used_again(s3_server):
    blobs = s3_blobs(s3_server.port, s3_timeout_s=0.5, s3_retry_s=0.5)
    blobs.put("a", b"x")
    with s3_server.frozen():
        started = time.monotonic()
        for use in (lambda: blobs.put("b", b"x"), lambda: blobs.get("a")):
            with pytest.raises(BlobUnavailable):
                use()
        assert time.monotonic() - started < 6
    assert blobs.get("a") == b"x"


def test_what_was_confirmed_outlives_a_killed_server(s3_server):
    blobs = s3_blobs(s3_server.port)
    kept = [f"in/20260101/u/u{number}.foreground" for number in range(10)]
    for key in kept:
        blobs.put(key, key.encode())
    s3_server.kill()
    try:
        with pytest.raises(BlobUnavailable):
            blobs.put("b", b"x")
        with pytest.raises(BlobUnavailable):
            blobs.get(kept[0])
    finally:
        s3_server.start()
    assert [blobs.get(key) for key in kept] == [key.encode() for key in kept]


@pytest.mark.parametrize(
    "changes",
    [{"s3_url": "s3://no-such-bucket/x"}, {"s3_secret_access_key": "wrong"}],
    ids=["bucket", "secret"],
)
def test_what_the_operator_has_wrong_is_no_missing_blob(s3_server, changes):
    """Else a supervisor would end tasks because of it."""
    blobs = s3_blobs(s3_server.port, s3_retry_s=0.0, **changes)
    with pytest.raises(BlobUnavailable) as caught:
        blobs.get("a")
    assert "wrong" not in str(caught.value)


def test_a_signed_url_gives_the_blob_until_it_expires(s3_server):
    blobs = s3_blobs(s3_server.port)
    key = "out/20260101/u/t1/0.png"
    blobs.put(key, b"image")
    blobs.put(key.replace("0.png", "1.png"), b"another")
    [url] = blobs.signed_urls([key], expires_in_s=2)
    with urllib.request.urlopen(url) as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"image", "image/png")
    time.sleep(2.5)
    forged = url.replace("X-Amz-Expires=2", "X-Amz-Expires=200")
    for bad in (url, forged, url.replace("/0.png", "/1.png"), url.partition("?")[0]):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(bad)
