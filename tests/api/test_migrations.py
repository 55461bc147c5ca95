"""The tables' history: taking over old stores, refusing later ones, starting many at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from api.database import open_database
from api.errors import TaskStoreError
from api.keys import KeyRing
from api.migrations import HEAD, REVISIONS
from api.schema import metadata
from api.store import SqlTaskStore
from api.tasks import Lease, TaskStatus
from tests.api.store_contract.stored import claim_one, output, read

ROOT = Path(__file__).resolve().parents[2]
FIRST_STORE = (Path(__file__).parent / "stores" / "schema_1.sql").read_text()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


@pytest.fixture
def first_store(file: Path) -> None:
    """A store that a program without revisions made, in use."""
    connection = sqlite3.connect(file)
    connection.executescript(FIRST_STORE)
    connection.close()


def revision_of(url: str) -> str:
    with open_database(url).read() as connection:
        return connection.execute(text("select version_num from alembic_version")).scalar_one()


def test_the_revisions_are_one_line_in_the_order_of_their_names():
    script = ScriptDirectory(str(ROOT / "api" / "migrations"))
    line = [revision.revision for revision in script.walk_revisions()][::-1]

    assert line == REVISIONS
    assert all(len(revision) <= 32 for revision in line)  # the width of Alembic's own column


def test_the_last_revision_leaves_the_tables_of_the_schema(url):
    with open_database(url).read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        indexes = {index["name"] for index in inspect(connection).get_indexes("tasks")}

    assert indexes >= {index.name for index in metadata.tables["tasks"].indexes}


@pytest.mark.usefixtures("first_store")
def test_a_store_without_revisions_is_taken_over_whole(url):
    store = SqlTaskStore(url)

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
    assert revision_of(url) == HEAD


@pytest.mark.usefixtures("first_store")
def test_many_processes_may_take_over_a_store_at_once(url):
    program = (
        "import sys; from api.store import SqlTaskStore; print(SqlTaskStore(sys.argv[1]).depth())"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE, cwd=ROOT)
        for _ in range(3)
    ]

    assert [starter.communicate(timeout=30)[0] for starter in starters] == [b"1\n"] * 3
    assert revision_of(url) == HEAD


def test_a_store_of_a_later_version_is_not_touched(url):
    with open_database(url).write() as connection:
        connection.execute(text("update alembic_version set version_num = '9999_later'"))

    with pytest.raises(TaskStoreError, match=r"9999_later.*upgrade"):
        open_database(url)


def test_a_program_without_revisions_leaves_an_upgraded_store_alone(url):
    with open_database(url).read() as connection:
        number = connection.execute(text("select value from meta where name = 'schema_version'"))
        assert number.scalar_one() == "2"  # it knows 1


def test_an_upgrade_that_fails_leaves_nothing_behind(url, file):
    connection = sqlite3.connect(file)
    connection.execute("create table task_outputs (mine text)")
    connection.close()

    with pytest.raises(TaskStoreError, match="task_outputs already exists"):
        open_database(url)

    connection = sqlite3.connect(file)
    assert connection.execute("select name from sqlite_master").fetchall() == [("task_outputs",)]
    connection.close()
