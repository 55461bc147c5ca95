from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api.tasks import Backlog, WorkerState
from tests.api.bench import Bench
from tests.api.wire import assert_refused, checked, generate, signed

# A task of `cost` 12: 1000 x 1000 pixels, the model's default of 12 steps.
ONE = {"Width": 1000, "Height": 1000}


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(**changes: Any) -> Bench:
        benches.append(Bench(tmp_path, **changes))
        return benches[-1]

    yield make
    for bench in benches:
        bench.store.close()


@pytest.fixture
def fresh_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request counts anew what waits."""
    monkeypatch.setattr("api.back_pressure.CACHE_S", 0.0)


def refused_for_now(bench: Bench, user: str = "alice", **fields: Any) -> str:
    """The message of a refusal that asks to retry and leaves nothing behind."""
    files = bench.files()
    response = bench.caller.http.post("/", json=signed(generate(**fields), user))
    assert response.status_code == 200
    assert_refused(checked(response.json()), 2001)
    assert int(response.headers["retry-after"]) > 0
    assert bench.files() == files
    return str(response.json()["Message"])


@pytest.mark.usefixtures("fresh_counts")
def test_the_cost_of_what_waits_is_bounded_for_each_device(make_bench):
    bench = make_bench(max_queued_cost_per_device=20)
    big = bench.submit(**ONE, BatchSize=3)  # however large: it waits for nobody
    assert refused_for_now(bench) == "The queue is full, try again later"
    for owner, draining in (("w1", False), ("w2", True)):
        bench.store.check_in(WorkerState(owner, "host", "cpu", (), 0, draining))
    refused_for_now(bench)
    bench.store.check_in(WorkerState("w3", "host", "cpu", (), 0, False))  # 36 of 40
    bench.submit(**ONE)
    refused_for_now(bench)
    assert bench.store.unfinished(tenant="alice")[0] == big
    bench.store.cancel(big, tenant="alice")
    bench.submit()


@pytest.mark.usefixtures("fresh_counts")
def test_deep_fusion_counts_twice(make_bench):
    bench = make_bench(max_queued_cost_per_device=13)
    bench.submit(**ONE)
    bench.submit(**ONE, BackgroundImage2Image={"ImageIndex": 1, "DeepFusion": True})
    assert bench.store.backlog() == Backlog(2, 36.0, 0)


def test_what_waits_is_counted_once_a_second_and_own_tasks_at_once(make_bench, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("api.back_pressure.time.monotonic", lambda: clock[0])
    bench, other = make_bench(max_queued_tasks=3), make_bench(max_queued_tasks=3)
    counted = []
    count = bench.store.backlog
    monkeypatch.setattr(bench.store, "backlog", lambda: counted.append(1) or count())

    bench.submit()
    bench.submit()
    other.submit()
    bench.submit()  # of the other process's it does not know yet
    refused_for_now(bench)
    assert len(counted) == 1
    clock[0] += 1.0
    refused_for_now(bench)
    assert len(counted) == 2
    refused_for_now(other, "bob")


def test_a_keys_own_limit_stops_no_other_key(make_bench):
    bench = make_bench(max_queued_per_key=1)
    uid = bench.submit()
    assert "1 tasks waiting" in refused_for_now(bench)
    assert "1 tasks waiting" in refused_for_now(bench, ImageList=["%%%"]), "told before decoding"
    bench.submit("bob")
    bench.store.cancel(uid, tenant="alice")
    bench.submit()


def test_polls_pass_whatever_waits(make_bench):
    bench = make_bench(max_queued_tasks=1, max_queued_per_key=1)
    uid = bench.submit()
    refused_for_now(bench)
    assert bench.detail(uid)["Status"] == "Queuing"
