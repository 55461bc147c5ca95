"""Clients that hold a connection without using it, against the real server."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.server import http_server, listen
from tests.api.bench import Bench
from tests.api.wire import assert_refused, checked, generate, signed

GRACE_S = 1.0


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int]]:
    bench = Bench(tmp_path, upload_grace_s=GRACE_S, min_upload_bytes_per_s=10_000)
    with listen("127.0.0.1", 0) as listener, http_server(bench.app, listener):
        yield listener.getsockname()
    bench.store.close()


def until_closed(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    received = b""
    while piece := connection.recv(4096):
        received += piece
    return received


def head(length: int, *more: str) -> bytes:
    lines = ["POST / HTTP/1.1", "Host: x", f"Content-Length: {length}", *more]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def test_a_body_that_stops_coming_is_cut_off(address):
    with socket.create_connection(address) as connection:
        start = time.monotonic()
        connection.sendall(head(1000) + b"{")
        answer = until_closed(connection)
    assert GRACE_S * 0.9 < time.monotonic() - start < 5
    status, _, rest = answer.partition(b"\r\n")
    assert status == b"HTTP/1.1 408 Request Timeout"
    assert_refused(checked(json.loads(rest.partition(b"\r\n\r\n")[2])), 110, "too slowly")


def trickle(connection: socket.socket, *, timeout_s: float) -> None:
    """Sends 2,500 bytes a second."""
    start = time.monotonic()
    while time.monotonic() - start < timeout_s:
        connection.sendall(b"x" * 50)
        time.sleep(0.02)


def test_a_trickle_is_cut_off_too(address):
    with socket.create_connection(address) as connection:
        connection.sendall(head(1_000_000))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            trickle(connection, timeout_s=5)


def test_a_steady_body_may_take_longer_than_the_grace(address):
    body = json.dumps(signed(generate(Padding="x" * 30_000))).encode()
    with socket.create_connection(address) as connection:
        connection.sendall(head(len(body), "Connection: close"))
        start = time.monotonic()
        for begin in range(0, len(body), 2000):
            connection.sendall(body[begin : begin + 2000])
            time.sleep(0.08)
        assert time.monotonic() - start > GRACE_S
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"RetCode":0' in answer


@pytest.mark.parametrize("start", [b"", b"POST / HTT", b"POST / HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(address, monkeypatch, start: bytes):
    monkeypatch.setattr("api.http_protocol.HEAD_TIMEOUT_S", 0.3)
    with socket.create_connection(address) as connection:
        connection.sendall(start)
        began = time.monotonic()
        assert until_closed(connection) == b""
    assert time.monotonic() - began < 5


def test_the_second_head_of_a_connection_is_not_waited_for_either(address, monkeypatch):
    monkeypatch.setattr("api.http_protocol.HEAD_TIMEOUT_S", 0.3)
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.settimeout(10)
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        connection.sendall(b"GET /he")
        began = time.monotonic()
        rest = until_closed(connection)
    assert b"HTTP" not in rest
    assert 0.2 < time.monotonic() - began < 4, "uvicorn's own bound on idle connections is 5 s"
