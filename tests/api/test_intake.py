"""Many uploads at once: they may wait or be refused, but they stop nobody else."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from api import submit
from tests.api.bench import Bench
from tests.api.wire import assert_refused, checked, generate, signed

UPLOAD = json.dumps(signed(generate(Padding="x" * 100_000))).encode()
POLL = json.dumps(signed({"Action": "ListRunningTasks"})).encode()


class Gate:
    """Holds every decoding back until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Semaphore(0)
        self.opened = threading.Event()
        decode = submit.decode_foreground

        def wait_and_decode(*args, **options):
            self.reached.release()
            assert self.opened.wait(60)
            return decode(*args, **options)

        monkeypatch.setattr(submit, "decode_foreground", wait_and_decode)

    async def wait_for_one(self) -> None:
        assert await asyncio.to_thread(self.reached.acquire, timeout=30)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def client(bench: Bench) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=bench.app)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def test_polls_and_probes_do_not_wait_for_decodes(bench: Bench, gate: Gate):
    async def scenario() -> None:
        async with client(bench) as http:
            uploads = [asyncio.create_task(http.post("/", content=UPLOAD)) for _ in range(60)]
            try:
                await gate.wait_for_one()
                async with asyncio.timeout(20):
                    poll = await http.post("/", content=POLL)
                    assert checked(poll.json())["RetCode"] == 0
                    assert (await http.get("/healthz")).status_code == 200
                    assert (await http.get("/readyz")).status_code == 200
                assert not any(upload.done() for upload in uploads)
            finally:
                gate.opened.set()
                answers = await asyncio.gather(*uploads)
            assert {checked(answer.json())["RetCode"] for answer in answers} == {0}

    asyncio.run(scenario())


def test_uploads_beyond_what_may_be_in_flight_are_asked_to_retry(tmp_path: Path, gate: Gate):
    limits = {"max_body_bytes": 2**17, "max_bodies_in_flight_bytes": len(UPLOAD) + 80_000}
    bench = Bench(tmp_path, **limits)
    taken = []

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(UPLOAD), 10_000):
            taken.append(start)
            yield UPLOAD[start : start + 10_000]

    async def scenario() -> None:
        async with client(bench) as http:
            held = asyncio.create_task(http.post("/", content=UPLOAD))
            try:
                await gate.wait_for_one()
                refused = await http.post("/", content=chunks())
                assert refused.status_code == 200
                assert_refused(checked(refused.json()), 2001)
                assert int(refused.headers["retry-after"]) > 0
                assert checked((await http.post("/", content=POLL)).json())["RetCode"] == 0
            finally:
                gate.opened.set()
                assert checked((await held).json())["RetCode"] == 0
            assert len(taken) == 9, "no more of it is read than until it was too much"
            for _ in range(3):  # what has ended counts no more
                again = await http.post("/", content=UPLOAD)
                assert checked(again.json())["RetCode"] == 0

    asyncio.run(scenario())
    bench.store.close()
