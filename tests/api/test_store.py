from __future__ import annotations

import itertools
import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text

from api.database import insert_if_absent, open_database
from api.errors import IllegalMove, StoreUnavailable, TaskStoreError
from api.moves import move_from
from api.schema import meta
from api.settings import Settings
from api.store import SqlTaskStore, open_store
from api.tasks import LEGAL_MOVES, Claimant, TaskStatus
from tests.api.store_contract import TaskStoreContract
from tests.api.store_contract.stored import MakeStore, claimed, new_task, put_many, read

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[MakeStore]:
    stores: list[SqlTaskStore] = []

    def make(**arguments: Any) -> SqlTaskStore:
        stores.append(SqlTaskStore(f"sqlite:///{tmp_path / 'store' / 'tasks.db'}", **arguments))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


class TestSqliteStore(TaskStoreContract):
    """The contract on SQLite."""


def test_only_legal_moves_can_be_written():
    for source in TaskStatus:
        for target in TaskStatus:
            if target in LEGAL_MOVES[source]:
                move_from(source, target)
            else:
                with pytest.raises(IllegalMove):
                    move_from(source, target)


def test_the_database_knows_only_the_six_states(make_store):
    store = make_store()
    store.put(new_task("a"))

    with (
        pytest.raises(Exception, match="CHECK constraint"),
        store.database.write() as connection,
    ):
        connection.execute(text("update tasks set state = 'lost'"))


def test_the_file_is_for_its_owner_only(make_store, tmp_path):
    make_store().put(new_task())

    folder = tmp_path / "store"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes["tasks.db"] == 0o600
    assert set(modes.values()) == {0o600}


def test_commits_are_written_ahead_and_synced(make_store):
    with make_store().database.read() as connection:
        assert connection.execute(text("pragma journal_mode")).scalar() == "wal"
        assert connection.execute(text("pragma synchronous")).scalar() == 2  # FULL
        assert connection.execute(text("pragma busy_timeout")).scalar() == 30_000
        assert connection.execute(text("pragma foreign_keys")).scalar() == 1


def test_what_need_not_last_is_not_synced_and_the_next_commit_is(make_store):
    database = make_store().database

    def synchronous(connection: Any) -> int:
        level: int = connection.execute(text("pragma synchronous")).scalar()
        return level

    with database.write_unsynced() as connection:
        connection.execute(insert(meta).values(name="unsynced", value="1"))
        assert synchronous(connection) == 1  # NORMAL
    with database.write() as connection:  # of the same connection
        assert synchronous(connection) == 2  # FULL
        assert connection.execute(select(meta.c.value).where(meta.c.name == "unsynced")).all()


def test_a_safe_sqlite_is_used_where_there_is_one(make_store):
    pysqlite3 = pytest.importorskip("pysqlite3")
    newest = max(sqlite3.sqlite_version_info, pysqlite3.sqlite_version_info)
    with make_store().database.read() as connection:
        version = connection.execute(text("select sqlite_version()")).scalar()

    used = tuple(int(part) for part in version.split("."))
    assert used == newest or used >= (3, 51, 3)


def test_the_clock_of_the_database_is_unix_time(make_store):
    database = make_store().database
    with database.read() as connection:
        now = connection.execute(select(database.now)).scalar()

    assert now == pytest.approx(time.time(), abs=1)


def test_a_killed_process_loses_no_stored_task(make_store, tmp_path):
    program = (
        "import sys; from api.store import SqlTaskStore\n"
        "from tests.api.store_contract.stored import new_task\n"
        "store = SqlTaskStore(sys.argv[1])\n"
        "while True:\n"
        "    task = new_task(); store.put(task); print(task.uid, flush=True)\n"
    )
    url = f"sqlite:///{tmp_path / 'store' / 'tasks.db'}"
    writer = subprocess.Popen(
        [sys.executable, "-c", program, url], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert writer.stdout is not None
    accepted = [writer.stdout.readline().decode().strip() for _ in range(50)]
    writer.kill()
    accepted += [line.decode().strip() for line in writer.stdout if line.endswith(b"\n")]
    writer.wait()
    writer.stdout.close()

    records = make_store().get_many(accepted, tenant="alice")

    assert all(records)


def test_a_locked_database_is_named_and_changes_nothing(make_store, monkeypatch):
    monkeypatch.setattr("api.sqlite.BUSY_TIMEOUT_S", 0.05)
    store, other = make_store(), make_store()

    with other.database.write(), pytest.raises(StoreUnavailable, match="locked"):
        store.put(new_task("a"))

    assert store.get("a") is None
    store.put(new_task("a"))


def test_a_full_disk_is_named_and_loses_nothing(make_store):
    store = make_store()
    uid, lease = claimed(store)
    with store.database.read() as connection:
        pages = connection.execute(text("pragma page_count")).scalar()
    big = {"PositivePrompts": ["x" * 2_000_000]}
    # Connections are pooled last-in first-out: the next write gets this very one.
    with store.database.read() as connection:
        connection.execute(text(f"pragma max_page_count = {pages}"))

    with pytest.raises(StoreUnavailable, match="full"):
        store.put(new_task("too-big", params=big))

    assert store.get("too-big") is None
    store.end_canceled(lease)
    assert read(store, uid).status is TaskStatus.CANCELED


def test_a_value_is_set_once(make_store):
    with make_store().database.write() as connection:
        assert insert_if_absent(connection, "colour", "red") == "red"
        assert insert_if_absent(connection, "colour", "blue") == "red"
        connection.execute(insert(meta).values(name="other", value="1"))  # not rolled back


def test_tasks_are_not_kept_in_memory():
    with pytest.raises(ValueError, match="needs a file"):
        open_database("sqlite://")


def test_an_unsupported_database_is_refused():
    with pytest.raises(ValueError, match="mysql"):
        open_database("mysql://host/name")


def test_the_settings_name_the_store(tmp_path):
    settings = Settings(data_dir=tmp_path / "a?b %41", max_attempts=2, queue_keep_s=0.001)
    store = open_store(settings)
    store.put(new_task("a"))
    store.close()

    assert os.listdir(tmp_path) == ["a?b %41"]  # noqa: PTH208
    assert read(store, "a").max_attempts == 2
    time.sleep(0.005)
    assert store.sweep() == ["a"]
    assert read(store, "a").error_code == 1207
    store.close()


def statements_of(store: SqlTaskStore, work: Callable[[], object]) -> list[tuple[str, Any]]:
    """What `work` sends to the database, with the parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            sent.append((statement, parameters))

    engine = store.database._engine
    event.listen(engine, "before_cursor_execute", note)
    work()
    event.remove(engine, "before_cursor_execute", note)
    return sent


def test_what_workers_do_all_the_time_never_scans_all_tasks(make_store):
    store = make_store()
    uid, lease = claimed(store)
    store.put(new_task())
    statements = {
        "look": statements_of(store, store.sweep),
        "depth": statements_of(store, store.depth),
        "purge": statements_of(store, store.purge),
        "put": statements_of(store, lambda: store.put(new_task())),
        "poll": statements_of(store, lambda: store.get_many([uid], tenant="alice")),
        "claim": statements_of(
            store, lambda: store.claim(Claimant("w", loaded=["other"]), limit=1, lease_s=60)
        ),
    }
    store.beat([lease], lease_s=-1, progress={})
    statements["sweep"] = statements_of(store, store.sweep)
    counts = {work: len(sent) for work, sent in statements.items()}
    assert counts == {
        "look": 3,
        "depth": 1,
        "purge": 4,
        "put": 3,
        "poll": 1,
        "claim": 6,
        "sweep": 6,
    }
    scans = set()
    for work, sent in statements.items():
        for statement, parameters in sent:
            with store.database.read() as connection:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                scans |= {(work, row.detail) for row in plan if "SCAN tasks" in row.detail}
    assert (
        scans
        == {  # these hold running or queued tasks only, the latter in order, or mostly none
            ("claim", "SCAN tasks USING INDEX tasks_running"),
            ("claim", "SCAN tasks USING INDEX tasks_queued"),
            ("depth", "SCAN tasks USING COVERING INDEX tasks_waiting"),
            ("look", "SCAN tasks USING INDEX tasks_unsettled"),
            ("sweep", "SCAN tasks USING INDEX tasks_unsettled"),
        }
    )


def steps_of(store: SqlTaskStore, work: Callable[[], object]) -> int:
    """Instructions that SQLite runs for `work`."""
    steps = itertools.count()
    engine = store.database._engine

    def count(connection: Any, *_: object) -> None:
        connection.set_progress_handler(lambda: next(steps) and None, 1)

    event.listen(engine, "checkout", count)
    work()
    event.remove(engine, "checkout", count)
    with store.database.read() as connection:
        connection.connection.set_progress_handler(None, 1)
    return next(steps)


def test_ten_thousand_waiting_tasks_cost_no_more_than_ten(tmp_path):
    steps = {}
    for depth in (10, 10_000):
        store = SqlTaskStore(f"sqlite:///{tmp_path / f'{depth}.db'}")
        waiting = put_many(store, depth, est_cost=1.0)
        task = new_task(est_cost=1.0)
        put = steps_of(store, partial(store.put, task))
        poll = steps_of(store, partial(store.get_many, [task.uid] * 20, tenant="alice"))
        cancel = steps_of(store, partial(store.cancel, task.uid, tenant="alice"))
        claim = steps_of(store, partial(store.claim, Claimant("w"), limit=8, lease_s=60))
        assert read(store, waiting[0]).status is TaskStatus.RUNNING
        capped = SqlTaskStore(store.database, max_running_per_key=1)
        other = new_task(tenant="bob")
        store.put(other)
        past = steps_of(store, partial(capped.claim, Claimant("w"), limit=8, lease_s=60))
        assert read(store, other.uid).status is TaskStatus.RUNNING
        steps[depth] = {"put": put, "poll": poll, "cancel": cancel, "claim": claim, "past": past}
        store.close()

    for work, few in steps[10].items():
        assert steps[10_000][work] <= 1.2 * few, (work, steps)


def test_a_missing_column_is_not_waited_for(make_store):
    store = make_store()
    with store.database.write() as connection:
        connection.execute(text("alter table tasks rename column seed to grain"))

    with pytest.raises(TaskStoreError, match="seed") as caught:
        store.put(new_task())

    assert not isinstance(caught.value, StoreUnavailable)


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "tasks.sqlite3").write_bytes(b"no database at all" * 500)
    with pytest.raises(TaskStoreError, match="not a database"):
        open_database(f"sqlite:///{tmp_path / 'tasks.sqlite3'}")
