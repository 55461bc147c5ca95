from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.errors import Throttled
from api.rate_limit import RateLimit
from tests.api.bench import Bench
from tests.api.wire import assert_refused, signed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("api.rate_limit.time.monotonic", lambda: now[0])
    return now


def passed(limit: RateLimit, key: str, tries: int) -> int:
    """How many of `tries` requests at once are let through."""
    count = 0
    for _ in range(tries):
        try:
            limit.take(key)
        except Throttled:
            continue
        count += 1
    return count


def test_without_a_rate_nothing_is_counted():
    assert passed(RateLimit(None, burst=1), "alice", 1000) == 1000


@pytest.mark.parametrize(("rate", "burst"), [(2.0, 5), (0.1, 1), (3.0, 7), (1000.0, 20)])
def test_a_rested_key_has_its_burst_and_then_the_rate(clock, rate: float, burst: int):
    limit = RateLimit(rate, burst=burst)
    assert passed(limit, "alice", 3 * burst) == burst
    for _ in range(5):
        clock[0] += 1.0 / rate
        assert passed(limit, "alice", 3) == 1
    clock[0] += 1000 * burst / rate
    assert passed(limit, "alice", 3 * burst) == burst


def test_the_wait_that_is_told_is_enough(clock):
    limit = RateLimit(0.3, burst=2)
    passed(limit, "alice", 2)
    with pytest.raises(Throttled) as refused:
        limit.take("alice")
    wait_s = refused.value.retry_after_s
    assert wait_s == 4  # 1 / 0.3, rounded up
    clock[0] += wait_s
    limit.take("alice")


@pytest.mark.usefixtures("clock")
def test_a_key_takes_nothing_from_another():
    limit = RateLimit(1.0, burst=3)
    assert passed(limit, "alice", 10) == 3
    assert passed(limit, "bob", 10) == 3


@pytest.mark.usefixtures("clock")
def test_threads_cannot_take_more_than_there_is():
    limit = RateLimit(1.0, burst=50)
    with ThreadPoolExecutor(8) as pool:
        counts = pool.map(lambda _: passed(limit, "alice", 25), range(8))
    assert sum(counts) == 50


def test_a_key_that_calls_too_often_is_answered_153(tmp_path: Path):
    bench = Bench(tmp_path, max_requests_per_s=0.01, request_burst=2)
    for _ in range(2):
        bench.caller.call(Action="ListModels")
    body = signed({"Action": "ListModels", "request_uuid": "u"})
    answer = bench.caller.http.post("/", json=body)
    assert (answer.status_code, answer.json()["request_uuid"]) == (200, "u")
    assert_refused(answer.json(), 153)
    assert 0 < int(answer.headers["retry-after"]) <= 100
    bench.caller.call("bob", Action="ListModels")
    bench.store.close()


def test_nobody_can_use_up_anothers_requests(tmp_path: Path):
    bench = Bench(tmp_path, max_requests_per_s=0.01, request_burst=1)
    forged = {"Action": "ListModels", "PublicKey": "alice", "Signature": "0" * 40}
    for _ in range(5):
        assert_refused(bench.caller.post(forged), 171)
        assert_refused(bench.caller.post({**forged, "PublicKey": "mallory"}), 172)
    bench.caller.call(Action="ListModels")
    assert_refused(bench.caller.ask({"Action": "Nothing"}), 153)
    bench.store.close()
