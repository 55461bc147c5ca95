"""The load run's own eyes, on a server that misbehaves, and a short run on the real one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmark.client import Client
from scripts.benchmark.row import Limit, Measure
from scripts.load_run.clients import Tally, Work, run_clients
from scripts.load_run.memory import Memory, watched
from scripts.load_run.report import markdown
from scripts.load_run.run import Load, load, new_bench, request

FEW = Work(num_clients=2, num_tasks=4, num_open=2, poll_every_s=0.01, deadline_s=5)


@contextmanager
def server(*answers: tuple[int, dict[str, Any]]) -> Iterator[str]:
    """Answers a submission with these in turn, the last for ever, and a poll with what is done."""
    left, lock = list(answers), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if body["Action"] == "ListTasksDetails":
                details = [{"TaskUID": uid, "Status": "Finished"} for uid in body["TaskUIDList"]]
                status, answer = 200, {"RetCode": 0, "TaskDetailList": details}
            else:
                with lock:
                    status, answer = left.pop(0) if len(left) > 1 else left[0]
                answer = {"TaskUID": str(body["Seed"]), **answer}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


def tally_of(*answers: tuple[int, dict[str, Any]]) -> Tally:
    with server(*answers) as url:
        return run_clients(lambda: Client(url, "p", "private"), request, FEW)


def test_every_task_is_submitted_once_and_seen_finished() -> None:
    tally = tally_of((200, {"RetCode": 0}))
    assert sorted(tally.finished) == ["0", "1", "2", "3"]
    assert len(tally.submit_s) == 4
    assert tally.errors == []


def test_back_pressure_is_no_error_and_is_tried_again() -> None:
    tally = tally_of((200, {"RetCode": 2001, "Message": "busy"}), (200, {"RetCode": 0}))
    assert len(tally.back_pressure) == 1
    assert len(tally.finished) == 4
    assert tally.errors == []


@pytest.mark.parametrize("answer", [(500, {}), (200, {"RetCode": 130, "Message": "Internal"})])
def test_any_other_answer_is_an_error(answer: tuple[int, dict[str, Any]]) -> None:
    assert tally_of(answer).errors != []


def test_growing_memory_is_seen() -> None:
    sizes = iter(range(1_000_000, 10**9, 100_000))
    with watched(lambda: next(sizes), every_s=0.002) as memory:
        threading.Event().wait(0.1)
    assert len(memory.resident) >= 8
    assert not memory.is_flat
    assert Memory([100, 900, 1000, 1000, 1010, 1000, 1020, 1010]).is_flat


def test_what_must_not_be_is_told() -> None:
    deep = Measure("poll", 1.5, limit=Limit(2, 1.2), spread=0.1)
    growing = Memory([100 * number for number in range(1, 9)])
    run = Load("sqlite", FEW, 1.0, Tally(errors=["submit: 130"], finished=["1"]), growing, [deep])
    assert len(run.problems) == 4
    page = markdown([run], machine="busy")
    assert "3 tasks were not seen finished" in page
    assert "submit: 130" in page


@pytest.mark.slow
def test_a_short_run_on_the_real_service_loses_nothing(tmp_path: Path) -> None:
    bench = new_bench(tmp_path, queue_depth=40, samples=2)
    told = load(bench, "sqlite", Work(num_clients=4, num_tasks=12, deadline_s=60))
    assert told.tally.errors == []
    assert len(set(told.tally.finished)) == 12
    assert {each.name.split()[0] for each in told.depth} == {"submit", "poll", "claim", "cancel"}
