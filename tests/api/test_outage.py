"""While the database is away the log holds a line for each refused request, and one traceback."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from api.database import open_database
from api.errors import IllegalMove, StoreUnavailable
from api.outage import Outage, one_line
from tests.api.bench import Bench
from tests.api.postgres import OwnServer, Postgres
from tests.api.wire import KEYS, assert_refused, generate

PROMPT = "a secret unreleased product"
TURNED_AWAY = "a request is turned away: the task store is unavailable: "


def begins(outage: Outage, kind: str) -> bool:
    error = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable), outage.watched(kind):
        raise error
    return error.begins_outage


def succeed(outage: Outage, kind: str) -> None:
    with outage.watched(kind):
        time.sleep(0.001)  # later than what failed, by any clock


def test_an_outage_begins_once_and_ends_with_what_succeeds():
    outage = Outage()
    assert [begins(outage, kind) for kind in ("read", "read", "write")] == [True, False, False]
    succeed(outage, "read")
    succeed(outage, "write")
    assert [begins(outage, "write"), begins(outage, "read")] == [True, False]


def test_reads_that_pass_end_no_outage_of_writes():
    outage = Outage()
    assert begins(outage, "write")
    succeed(outage, "read")
    assert not begins(outage, "write")


def test_what_began_before_the_fault_does_not_end_it():
    outage = Outage()
    with outage.watched("read"):
        assert begins(outage, "read")
    assert not begins(outage, "read")


def test_another_error_is_no_outage():
    outage = Outage()
    with pytest.raises(IllegalMove), outage.watched("write"):
        raise IllegalMove("stored already")
    assert begins(outage, "write")


def test_an_error_of_many_lines_is_told_in_one():
    error = ValueError("connection failed:\n\tIs it there?\n")
    assert one_line(error) == "connection failed: Is it there?"
    assert len(one_line("x" * 1000)) == 300


# A service ---------------------------------------------------------------------------------------


def poll(bench: Bench) -> dict:
    return bench.caller.ask({"Action": "ListTasksDetails", "TaskUIDList": ["x"]})


def order(bench: Bench) -> dict:
    return bench.caller.ask(generate(PositivePrompts=[PROMPT]))


def assert_told(caplog: pytest.LogCaptureFixture, *, refused: int) -> None:
    """A line for each, one traceback, and nothing of the requests."""
    told = [each for each in caplog.records if each.levelno >= logging.WARNING]
    lines = [each.getMessage() for each in told]
    assert sum(line.startswith(TURNED_AWAY) for line in lines) == refused
    assert not any("\n" in line for line in lines)
    assert sum(each.exc_info is not None for each in told) == 1
    formatted = "\n".join(map(logging.Formatter().format, told))
    assert "Traceback" in formatted
    for secret in (PROMPT, *KEYS.values()):
        assert secret not in formatted
    caplog.clear()


def test_a_database_that_takes_no_writes(tmp_path: Path, caplog, monkeypatch):
    monkeypatch.setattr("api.sqlite.BUSY_TIMEOUT_S", 0.05)
    bench = Bench(tmp_path)
    other = open_database(f"sqlite:///{tmp_path / 'tasks.sqlite3'}")
    for _ in range(2):  # two outages
        with other.write():
            for _ in range(3):
                assert_refused(order(bench), 2001)
                assert poll(bench)["RetCode"] == 0
        assert_told(caplog, refused=3)
        bench.submit()
    other.close()
    bench.store.close()


def test_a_server_that_is_killed_and_comes_back(tmp_path: Path, postgres: Postgres, caplog):
    if not isinstance(postgres, OwnServer):
        pytest.skip("the server is not ours to kill")
    bench = Bench(tmp_path, database_url=postgres.new_database())
    uid = bench.submit()
    for _ in range(2):  # two outages
        with bench.store.database.read() as connection:
            connection.execute(text("SELECT 1"))
        postgres.kill()
        try:
            requests: list[Callable[[Bench], dict]] = [poll, order] * 6
            with ThreadPoolExecutor(4) as pool:
                for answer in pool.map(lambda request: request(bench), requests):
                    assert_refused(answer, 2001)
            assert_told(caplog, refused=len(requests))
        finally:
            postgres.start()
        until_back(bench)
        caplog.clear()
        assert bench.detail(uid)["Status"] == "Queuing"
    bench.store.close()


def until_back(bench: Bench) -> None:
    deadline = time.monotonic() + 60
    while poll(bench)["RetCode"] != 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
