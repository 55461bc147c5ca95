from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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
from tests.api.store_contract.stored import MakeStore, claimed, new_task, read

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


def test_two_processes_claim_each_task_once(make_store, tmp_path):
    store = make_store()
    for _ in range(200):
        store.put(new_task())
    program = (
        "import sys; from api.store import SqlTaskStore; from api.tasks import Claimant\n"
        "store = SqlTaskStore(sys.argv[1])\n"
        "while records := store.claim(Claimant(sys.argv[2]), limit=2, lease_s=60):\n"
        "    print(*(record.uid for record in records), sep='\\n')\n"
    )
    url = f"sqlite:///{tmp_path / 'store' / 'tasks.db'}"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", program, url, owner], stdout=subprocess.PIPE, cwd=ROOT
        )
        for owner in ("w1", "w2")
    ]

    taken = [worker.communicate(timeout=30)[0].split() for worker in workers]

    assert len(taken[0]) + len(taken[1]) == 200
    assert len({*taken[0], *taken[1]}) == 200


def test_many_processes_may_make_the_same_store_at_once(tmp_path):
    program = (
        "import sys; from api.store import SqlTaskStore\n"
        "print(SqlTaskStore(sys.argv[1]).secret().hex())"
    )
    url = f"sqlite:///{tmp_path / 'store' / 'tasks.db'}"
    starters = [
        subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE, cwd=ROOT)
        for _ in range(4)
    ]

    answers = {starter.communicate(timeout=30)[0] for starter in starters}

    assert len(answers) == 1
    assert len(answers.pop().strip()) == 64


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
    _, lease = claimed(store)
    store.put(new_task())
    statements = {
        "look": statements_of(store, store.sweep),
        "depth": statements_of(store, store.depth),
        "purge": statements_of(store, store.purge),
        "claim": statements_of(
            store,
            lambda: store.claim(Claimant("w"), limit=1, lease_s=60),
        ),
    }
    store.beat([lease], lease_s=-1, progress={})
    statements["sweep"] = statements_of(store, store.sweep)
    counts = [len(statements[work]) for work in ("look", "depth", "purge", "claim", "sweep")]
    assert counts == [3, 1, 4, 5, 6]
    scans = set()
    for work, sent in statements.items():
        for statement, parameters in sent:
            with store.database.read() as connection:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                scans |= {(work, row.detail) for row in plan if "SCAN tasks" in row.detail}
    assert scans == {  # of queued tasks only, the first in the order of claiming; mostly empty
        ("claim", "SCAN tasks USING INDEX tasks_queued"),
        ("depth", "SCAN tasks USING COVERING INDEX tasks_waiting"),
        ("look", "SCAN tasks USING INDEX tasks_unsettled"),
        ("sweep", "SCAN tasks USING INDEX tasks_unsettled"),
    }


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
