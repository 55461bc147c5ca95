"""The database of the service: short transactions, its clock, and all that is special to SQLite.

Everything else speaks SQLAlchemy Core; another database means another `_open_...` here.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Float,
    create_engine,
    event,
    exc,
    literal_column,
    make_url,
    select,
)

from api import migrations
from api.durable import make_folder, sync_folder
from api.errors import StoreUnavailable, TaskStoreError
from api.schema import meta

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 30.0
# Older ones may corrupt a WAL file that several processes write (sqlite.org/wal.html, WAL reset).
_SAFE_SQLITE = (3, 51, 3)
_BEGIN_IMMEDIATE = "backdrop_begin_immediate"


class Database:
    """An engine, its clock, and the one way to read and to write.

    Attributes:
        now: SQL expression of the database's clock, Unix seconds as a float. All replicas share
            this clock, so that no worker's wrong clock can end another's lease.
    """

    def __init__(self, engine: Engine, *, now: ColumnElement[float]) -> None:
        self.now = now
        self._engine = engine
        self._writer = engine.execution_options(**{_BEGIN_IMMEDIATE: True})
        # Waiting here is fair; SQLite's own back-off let one of 2,000 inserts wait 3.2 s.
        self._write_lock = threading.Lock()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction over one snapshot.

        Raises:
            StoreUnavailable: the database cannot be reached or read for now.
            TaskStoreError: it is not this program's: a table or a column is missing.
        """
        with _unavailable_named(), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction, committed to the disk at the end; do no other I/O inside.

        Raises:
            StoreUnavailable: the database is locked, full or cannot be reached for now.
            TaskStoreError: it is not this program's: a table or a column is missing.
        """
        with _unavailable_named(), self._write_lock, self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def open_database(url: str | URL) -> Database:
    """Open the database at `url` and bring its tables to this program's revision.

    A SQLite file is made owner-only, in a folder that is made owner-only if it is missing.

    Raises:
        ValueError: not a URL of a supported database.
        TaskStoreError: the tables were made by a later version of this program, or the file is
            damaged or no database.
        StoreUnavailable: the database cannot be reached.
    """
    url = make_url(url)
    if url.get_backend_name() != "sqlite":
        raise ValueError(f"no support for databases of kind {url.get_backend_name()}")
    database = _open_sqlite(url)
    _migrate(database)
    return database


def insert_if_absent(connection: Connection, name: str, value: str) -> str:
    """Set `name` in the table `meta` unless it is there; what stands there now.

    Atomic: of two processes that set it at the same time, both get the same value.
    """
    with contextlib.suppress(exc.IntegrityError), connection.begin_nested():
        connection.execute(meta.insert().values(name=name, value=value))
    stored: str = connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar_one()
    return stored


def _migrate(database: Database) -> None:
    with database.read() as connection:
        if migrations.is_current(connection):
            return
    with database.write() as connection:  # one process at a time
        if not migrations.is_current(connection):
            migrations.upgrade(connection)


@contextlib.contextmanager
def _unavailable_named() -> Iterator[None]:
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as cause:
        orig = getattr(cause, "orig", cause)
        # No table, no column, bad SQL: waiting does not help. Locked, full and the like have codes
        # of their own.
        if getattr(orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            raise TaskStoreError(f"the task store does not fit this program: {orig}") from cause
        raise StoreUnavailable(str(orig)) from cause
    except exc.IntegrityError:
        raise  # the caller's to name: what it wrote is there already
    except exc.DatabaseError as cause:
        raise TaskStoreError(f"the task store is damaged: {cause.orig}") from cause


def _open_sqlite(url: URL) -> Database:
    if not url.database or url.database == ":memory:":
        raise ValueError("the task store needs a file; a database in memory would lose tasks")
    path = Path(url.database).absolute()
    make_folder(path.parent)
    with contextlib.suppress(FileExistsError):  # SQLite gives -wal and -shm the same mode
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        sync_folder(path.parent)
    engine = create_engine(
        url.set(drivername="sqlite", database=str(path)),
        module=_sqlite_module(),
        hide_parameters=True,  # else tracebacks would show keys and prompts
        pool_size=8,
        max_overflow=56,  # connections to a file are cheap, waiting for one is not
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    # julianday('now') stands still within a statement, has the same millisecond resolution as
    # unixepoch('subsec'), and exists in every version.
    now = literal_column("((julianday('now') - 2440587.5) * 86400.0)", Float)
    return Database(engine, now=now)


def _sqlite_module() -> ModuleType:
    """The newest of the SQLite that Python links and the one of the package pysqlite3."""
    module: ModuleType = sqlite3
    if sqlite3.sqlite_version_info < _SAFE_SQLITE:
        with contextlib.suppress(ImportError):
            packaged = importlib.import_module("pysqlite3.dbapi2")
            if packaged.sqlite_version_info > sqlite3.sqlite_version_info:
                module = packaged
    logger.info("SQLite %s from %s", module.sqlite_version, module.__name__)
    if module.sqlite_version_info < _SAFE_SQLITE:
        logger.warning(
            "SQLite %s may damage a file that several processes write; install pysqlite3 or"
            " a Python with SQLite %d.%d.%d",
            module.sqlite_version,
            *_SAFE_SQLITE,
        )
    return module


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Transactions are begun by _begin_sqlite alone, never implicitly by the driver.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
    _enter_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")  # NORMAL may lose the last commits at power-off
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _enter_wal(cursor: Any) -> None:
    """Switch the file to WAL; a no-op once it is.

    SQLite does not wait out its busy timeout here when two processes open a new file at once.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL").fetchone()
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that reads first and writes later can fail at once with "database is
    # locked", whatever the busy timeout: take the write lock at the start.
    immediate = connection.get_execution_options().get(_BEGIN_IMMEDIATE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
