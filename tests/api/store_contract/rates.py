"""The request rate of a key, over all processes on one store."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event, select, update

from api.errors import Throttled
from api.rate_limit import RateLimit
from api.schema import key_rates
from api.store import SqlTaskStore
from tests.api.store_contract.stored import MakeStore

SLOW = 0.001  # requests a second: a test takes less than one interval


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


def age(store: SqlTaskStore, seconds: float) -> None:
    """As if so much time had passed for the buckets."""
    with store.database.write() as connection:
        connection.execute(update(key_rates).values(full_at=key_rates.c.full_at - seconds))


def rows(store: SqlTaskStore) -> int:
    with store.database.read() as connection:
        return len(connection.execute(select(key_rates)).all())


class RateContract:
    """Exact between processes, and nothing where no limit is set."""

    def test_without_a_rate_nothing_is_counted(self, store: SqlTaskStore) -> None:
        assert passed(RateLimit(store.database, None, burst=1), "alice", 1000) == 1000
        assert rows(store) == 0

    @pytest.mark.parametrize("burst", [1, 7])
    def test_a_rested_key_has_its_burst_and_then_the_rate(
        self, store: SqlTaskStore, burst: int
    ) -> None:
        def another() -> RateLimit:
            return RateLimit(store.database, SLOW, burst=burst)

        assert passed(another(), "alice", 3 * burst) == burst
        for _ in range(3):
            age(store, 1 / SLOW)
            assert passed(another(), "alice", 3) == 1
        age(store, 1000 * burst / SLOW)
        assert passed(another(), "alice", 3 * burst) == burst

    def test_processes_share_the_burst(self, make_store: MakeStore) -> None:
        limits = [RateLimit(make_store().database, SLOW, burst=10) for _ in range(2)]
        assert passed(limits[0], "alice", 6) == 6
        assert passed(limits[1], "alice", 10) == 4
        assert passed(limits[0], "alice", 10) == 0

    def test_threads_of_all_processes_take_no_more_than_there_is(
        self, make_store: MakeStore
    ) -> None:
        limits = [RateLimit(make_store().database, SLOW, burst=50) for _ in range(2)]
        with ThreadPoolExecutor(8) as pool:
            counts = pool.map(lambda number: passed(limits[number % 2], "alice", 25), range(8))
        assert sum(counts) == 50

    def test_a_key_takes_nothing_from_another(self, store: SqlTaskStore) -> None:
        limit = RateLimit(store.database, SLOW, burst=3)
        assert passed(limit, "alice", 10) == 3
        assert passed(limit, "bob", 10) == 3

    def test_the_wait_that_is_told_is_enough(self, store: SqlTaskStore) -> None:
        passed(RateLimit(store.database, SLOW, burst=2), "alice", 2)
        with pytest.raises(Throttled) as refused:
            RateLimit(store.database, SLOW, burst=2).take("alice")
        wait_s = refused.value.retry_after_s
        assert wait_s is not None
        assert 1 / SLOW - 60 < wait_s <= math.ceil(1 / SLOW)
        age(store, wait_s)
        RateLimit(store.database, SLOW, burst=2).take("alice")

    def test_a_bucket_of_other_settings_is_none_to_wait_for(self, store: SqlTaskStore) -> None:
        """Nor one that was filled while the database's clock was wrong."""
        passed(RateLimit(store.database, SLOW, burst=1000), "alice", 100)
        limit = RateLimit(store.database, 1.0, burst=2)
        with pytest.raises(Throttled) as refused:
            limit.take("alice")
        assert refused.value.retry_after_s == 1

    def test_a_key_that_has_none_left_costs_no_statement(self, store: SqlTaskStore) -> None:
        limit = RateLimit(store.database, SLOW, burst=1)
        assert passed(limit, "alice", 2) == 1
        sent: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            sent.append(statement)

        event.listen(store.database._engine, "before_cursor_execute", note)
        assert passed(limit, "alice", 100) == 0
        event.remove(store.database._engine, "before_cursor_execute", note)
        assert sent == []
