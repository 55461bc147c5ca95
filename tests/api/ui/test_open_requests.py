from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from api.ui.guard import HEADERS, Guard
from api.ui.open_requests import OpenRequests
from api.ui.shelf import Shelf
from api.ui.tickets import Tickets

SCOPE = {"type": "http", "method": "GET", "path": "/ui/config", "root_path": "/ui", "headers": []}


async def endless(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"data: ALIVE\n\n", "more_body": True})
    await asyncio.sleep(60)


def guarded(tmp_path: Path, open_requests: OpenRequests) -> Guard:
    return Guard(
        endless,
        tickets=Tickets(b"secret"),
        shelf=Shelf(tmp_path, keep_s=60),
        max_body_bytes=1,
        open_requests=open_requests,
    )


def test_a_stream_is_brought_to_a_proper_end_when_the_service_stops(tmp_path: Path):
    open_requests, sent = OpenRequests(), []
    guard = guarded(tmp_path, open_requests)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message.get("more_body"):
            threading.Thread(target=open_requests.end).start()

    async def run() -> None:
        await asyncio.wait_for(guard(SCOPE, None, send), timeout=10)

    asyncio.run(run())
    names = {name.decode() for name, _ in sent[0]["headers"]}
    assert names == {name.lower() for name in HEADERS}
    assert sent[-1] == {"type": "http.response.body"}


def test_a_visitor_who_leaves_ends_a_stream_as_always(tmp_path: Path):
    guard = guarded(tmp_path, OpenRequests())

    async def send(_message: dict[str, Any]) -> None:
        pass

    async def run() -> None:
        request = asyncio.create_task(guard(SCOPE, None, send))
        await asyncio.sleep(0.05)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(run())


def test_nothing_is_to_be_ended_before_the_first_request():
    OpenRequests().end()
