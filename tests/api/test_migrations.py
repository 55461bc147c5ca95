"""The tables' history: taking over old stores, refusing later ones, starting many at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, Table, create_engine, inspect, select, text, update

from api import migrations
from api.database import open_database
from api.errors import TaskStoreError
from api.keys import KeyRing
from api.migrations import HEAD, REVISIONS
from api.schema import metadata
from api.store import SqlTaskStore
from api.tasks import Lease, TaskStatus
from tests.api.store_contract.stored import claim_one, lease_of, new_task, output, read, read_row

ROOT = Path(__file__).resolve().parents[2]
FIRST_STORE = (Path(__file__).parent / "stores" / "schema_1.sql").read_text()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


@pytest.fixture
def sqlite_url(file: Path) -> str:
    return f"sqlite:///{file}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        named: str = request.getfixturevalue("sqlite_url")
        return named
    new: str = request.getfixturevalue("postgres").new_database()
    return new


@pytest.fixture
def first_store(file: Path) -> None:
    """A store that a program without revisions made, in use."""
    connection = sqlite3.connect(file)
    connection.executescript(FIRST_STORE)
    connection.close()


def revision_of(url: str) -> str:
    database = open_database(url)
    with database.read() as connection:
        revision: str = connection.execute(
            text("select version_num from alembic_version")
        ).scalar_one()
    database.close()
    return revision


def open_at_once(url: str, count: int) -> list[str]:
    """What as many processes find that open a store at the same time."""
    program = (
        "import sys; from api.store import SqlTaskStore\n"
        "store = SqlTaskStore(sys.argv[1]); print(store.depth(), store.secret().hex())"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE, cwd=ROOT)
        for _ in range(count)
    ]
    return [starter.communicate(timeout=60)[0].decode() for starter in starters]


def test_the_revisions_are_one_line_in_the_order_of_their_names():
    script = ScriptDirectory(str(ROOT / "api" / "migrations"))
    line = [revision.revision for revision in script.walk_revisions()][::-1]

    assert line == REVISIONS
    assert all(len(revision) <= 32 for revision in line)  # the width of Alembic's own column


def test_the_last_revision_leaves_the_tables_of_the_schema(url):
    database = open_database(url)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        for table in metadata.sorted_tables:
            indexes = {index["name"] for index in inspect(connection).get_indexes(table.name)}
            assert indexes >= {index.name for index in table.indexes}
    database.close()


@pytest.mark.usefixtures("first_store")
def test_a_store_without_revisions_is_taken_over_whole(sqlite_url):
    store = SqlTaskStore(sqlite_url)

    done = read(store, "done")
    assert (done.status, done.note, done.created_at) == (
        TaskStatus.SUCCEEDED,
        "a note",
        1764500000.5,
    )
    assert done.outputs == (output("done", 0), output("done", 1))
    assert done.params == {"PositivePrompts": ["蓝天"], "BatchSize": 1}
    assert store.secret() == b"\x5c" * 32
    assert KeyRing(store.database).private_key("public") == "private"
    store.finish(Lease("waits", "w1", 2), [output("waits", token=2)])
    assert claim_one(store).uid == "queued"
    assert revision_of(sqlite_url) == HEAD


@pytest.mark.usefixtures("first_store")
def test_many_processes_may_take_over_a_store_at_once(sqlite_url):
    assert open_at_once(sqlite_url, 2) == [f"1 {'5c' * 32}\n"] * 2
    assert revision_of(sqlite_url) == HEAD


def test_many_processes_may_make_the_same_store_at_once(url):
    answers = open_at_once(url, 3)

    assert len(set(answers)) == 1
    assert answers[0].startswith("0 ")


def test_a_store_of_a_later_version_is_not_touched(url):
    database = open_database(url)
    with database.write() as connection:
        connection.execute(text("update alembic_version set version_num = '9999_later'"))
    database.close()

    with pytest.raises(TaskStoreError, match=r"9999_later.*upgrade"):
        open_database(url)


def test_a_program_without_revisions_leaves_an_upgraded_store_alone(sqlite_url):
    with open_database(sqlite_url).read() as connection:
        number = connection.execute(text("select value from meta where name = 'schema_version'"))
        assert number.scalar_one() == "2"  # it knows 1


def test_an_upgrade_that_fails_leaves_nothing_behind(sqlite_url, file):
    connection = sqlite3.connect(file)
    connection.execute("create table task_outputs (mine text)")
    connection.close()

    with pytest.raises(TaskStoreError, match="task_outputs already exists"):
        open_database(sqlite_url)

    connection = sqlite3.connect(file)
    assert connection.execute("select name from sqlite_master").fetchall() == [("task_outputs",)]
    connection.close()


class FirstVersion:
    """What a process of the first revision does, which knows the columns of its day."""

    def __init__(self, url: str) -> None:
        driver = url.replace("postgresql://", "postgresql+psycopg://")
        self.engine = create_engine(driver)
        with self.engine.begin() as connection:
            migrations.upgrade(connection, REVISIONS[0])
        tables = MetaData()
        tables.reflect(self.engine)
        self.tasks: Table = tables.tables["tasks"]
        self.outputs: Table = tables.tables["task_outputs"]

    def put(self, uid: str) -> None:
        known = {column.name for column in self.tasks.c}
        task = {
            name: getattr(new_task(uid), name) for name in known if hasattr(new_task(uid), name)
        }
        with self.engine.begin() as connection:
            row = {**task, "state": "queued", "max_attempts": 3, "created_at": 0.0}
            connection.execute(self.tasks.insert().values(row))

    def claim(self) -> Any:
        t = self.tasks.c
        with self.engine.begin() as connection:
            queued = select(t.seq).where(t.state == "queued")
            seq = connection.execute(
                queued.order_by(t.priority.desc(), t.vtime, t.seq).limit(1).with_for_update()
            ).scalar_one()
            start = {"state": "running", "owner": "old", "token": t.token + 1, "attempts": 1}
            lease = update(self.tasks).where(t.seq == seq).values(**start, lease_until=9e9)
            connection.execute(lease)
            return connection.execute(select(self.tasks).where(t.seq == seq)).one()

    def finish(self, uid: str) -> None:
        done = {"state": "succeeded", "owner": None, "lease_until": None, "finished_at": 1.0}
        with self.engine.begin() as connection:
            connection.execute(update(self.tasks).where(self.tasks.c.uid == uid).values(**done))
            image = {"task_uid": uid, **{name: getattr(output(uid), name) for name in OUTPUT}}
            connection.execute(self.outputs.insert().values(image))


OUTPUT = output("").__slots__


def test_processes_of_the_first_version_work_on_beside_this_one(url):
    old = FirstVersion(url)
    old.put("before")
    store = SqlTaskStore(url)

    old.put("after")
    store.put(new_task("new"))
    assert [old.claim().uid, claim_one(store).uid, old.claim().uid] == ["before", "after", "new"]
    for uid in ("before", "new"):
        old.finish(uid)
        assert read(store, uid).outputs == (output(uid),)
    store.finish(lease_of(read(store, "after")), [output("after")])
    assert read_row(store, "new").est_cost == 0.0
    store.close()
    old.engine.dispose()
