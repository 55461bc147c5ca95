"""The contract on PostgreSQL, and what is its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import event, text

from api import notify
from api.database import open_database
from api.errors import StoreUnavailable, TaskStoreError
from api.notify import Notifier
from api.settings import Settings
from api.store import SqlTaskStore, open_store
from api.tasks import Claimant, News, TaskStatus
from tests.api.store_contract import TaskStoreContract
from tests.api.store_contract.stored import MakeStore, claimed, new_task, output, put_many


@pytest.fixture
def make_store(postgres_url: str) -> Iterator[MakeStore]:
    stores: list[SqlTaskStore] = []

    def make(**arguments: Any) -> SqlTaskStore:
        stores.append(SqlTaskStore(postgres_url, **arguments))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


class TestPostgresStore(TaskStoreContract):
    """The contract on PostgreSQL."""


# The planner -------------------------------------------------------------------------------------


def rows_read(store: SqlTaskStore, work: Callable[[], object]) -> dict[str, float]:
    """For each statement of `work` the most rows that a part of its plan gave, run once more."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    engine = store.database._engine
    event.listen(engine, "before_cursor_execute", note)
    work()
    event.remove(engine, "before_cursor_execute", note)
    read = {}
    with store.database.write() as connection:
        for statement, parameters in sent:
            if not statement.startswith(("INSERT INTO tasks", "SELECT pg_notify")):
                explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
                [plan] = connection.exec_driver_sql(explain, parameters).scalar_one()
                read[statement] = max(_rows(plan["Plan"]))
        connection.rollback()
    return read


def _rows(plan: dict[str, Any]) -> Iterator[float]:
    yield plan["Actual Rows"] * plan["Actual Loops"] + plan.get("Rows Removed by Filter", 0)
    for part in plan.get("Plans", ()):
        yield from _rows(part)


def analyze(store: SqlTaskStore) -> None:
    with store.database.write() as connection:
        connection.execute(text("ANALYZE tasks"))


@pytest.mark.parametrize("analyzed_at", [0, 10_000])
def test_nothing_reads_the_whole_queue_whatever_the_planner_knows(make_store, analyzed_at):
    store = make_store()
    if not analyzed_at:
        analyze(store)
    put_many(store, 10_000, est_cost=1.0)
    if analyzed_at:
        analyze(store)
    task = new_task(est_cost=1.0)
    read = {
        **rows_read(store, lambda: store.put(task)),
        **rows_read(store, lambda: store.get_many([task.uid] * 20, tenant="alice")),
        **rows_read(store, lambda: store.cancel(task.uid, tenant="alice")),
        **rows_read(store, lambda: store.claim(Claimant("w"), limit=8, lease_s=60)),
        **rows_read(store, store.sweep),
    }
    capped = make_store(max_running_per_key=1)
    store.put(new_task("past", tenant="bob"))
    read |= rows_read(capped, lambda: capped.claim(Claimant("w"), limit=8, lease_s=60))
    assert (found := store.get("past")) is not None
    assert found.status is TaskStatus.RUNNING

    assert len(read) >= 8
    assert max(read.values()) <= 16, read


# News --------------------------------------------------------------------------------------------


@pytest.fixture
def heard(make_store: MakeStore) -> Iterator[SimpleQueue[frozenset[News]]]:
    """What a listener of the store's database hears, once it listens."""
    queue: SimpleQueue[frozenset[News]] = SimpleQueue()
    end = Notifier(make_store().database).listen(queue.put)
    assert queue.get(timeout=20) == frozenset(News)
    yield queue
    end()
    assert not [each for each in threading.enumerate() if each.name == "news"]


def test_news_is_heard_through_the_database(make_store, heard):
    database = make_store().database
    store = make_store(doorbell=Notifier(database))
    uid, _ = claimed(store)
    assert heard.get(timeout=20) == {News.QUEUED}
    store.cancel(uid, tenant="alice")
    assert heard.get(timeout=20) == {News.CANCEL}


def test_a_listener_that_was_cut_off_hears_again(make_store, heard, monkeypatch):
    monkeypatch.setattr(notify, "RECONNECT_S", 0.05)
    store = make_store()
    with store.database.write() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            )
        )

    assert heard.get(timeout=20) == frozenset(News)  # it cannot know what it has missed
    Notifier(store.database).ring(News.CANCEL)
    assert heard.get(timeout=20) == {News.CANCEL}


# Faults and secrets ------------------------------------------------------------------------------


def test_a_connection_that_died_while_idle_is_replaced_unseen(make_store):
    store = make_store()
    store.put(new_task("a"))
    others = make_store()
    with others.database.write() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        )

    assert store.get("a") is not None


def test_a_row_that_another_holds_is_named_as_locked(make_store, monkeypatch):
    other = make_store()
    uid, lease = claimed(other)
    monkeypatch.setattr("api.postgresql.BUSY_TIMEOUT_S", 0.05)
    store = make_store()

    with other.database.write() as connection:
        connection.execute(text("SELECT 1 FROM tasks FOR UPDATE"))
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            store.end_canceled(lease)

    store.finish(lease, [output(uid)])


def test_a_process_that_stands_still_in_a_transaction_is_thrown_out(make_store, monkeypatch):
    monkeypatch.setattr("api.postgresql.IDLE_TIMEOUT_S", 0.1)
    store = make_store()
    still, go_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        with store.database.write() as connection:
            connection.execute(text("SELECT 1 FROM tasks FOR UPDATE"))
            still.set()
            go_on.wait(20)
            connection.execute(text("SELECT 1"))

    other = make_store()
    uid, lease = claimed(other)
    with ThreadPoolExecutor(1) as pool:
        standing = pool.submit(stand_still)
        still.wait(20)
        other.finish(lease, [output(uid)])  # it waits a moment
        go_on.set()
        with pytest.raises(StoreUnavailable, match="idle-in-transaction"):
            standing.result()


def test_what_need_not_last_is_not_synced_and_the_next_commit_is(make_store):
    database = make_store().database
    for write, level in ((database.write_unsynced, "off"), (database.write, "on")):
        with write() as connection:
            assert connection.execute(text("SHOW synchronous_commit")).scalar() == level


def test_a_missing_column_is_not_waited_for(postgres):
    store = SqlTaskStore(postgres.new_database())
    with store.database.write() as connection:
        connection.execute(text("alter table tasks rename column seed to grain"))

    with pytest.raises(TaskStoreError, match="seed") as caught:
        store.put(new_task())
    assert not isinstance(caught.value, StoreUnavailable)
    store.close()


def test_a_server_that_is_not_there_is_unavailable(tmp_path):
    with pytest.raises(StoreUnavailable):
        open_database(f"postgresql://user:secret@/name?host={tmp_path}")


def test_a_uid_that_is_no_text_of_the_database_is_unknown(make_store):
    assert make_store().get_many(["a\0b"], tenant="alice") == [None]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:se/cret@host:port/name",
        "postgresql://user:secret@host:name/x",
        "postgresql+asyncpg://user:secret@host/name",
        "mysql://user:secret@host/name",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url, caplog):
    with pytest.raises((TaskStoreError, ValidationError)) as caught:
        open_store(Settings(database_url=SecretStr(url)))

    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {caplog.text}"
    assert "database_url" in shown
    assert "secret" not in shown
    assert "se/cret" not in shown


def test_a_store_is_opened_by_its_setting(postgres_url, tmp_path):
    settings = Settings(database_url=SecretStr(postgres_url), data_dir=tmp_path / "data")
    store = open_store(settings)
    store.put(new_task("a"))

    assert store.get("a") is not None
    assert not settings.data_dir.exists()
    store.close()
