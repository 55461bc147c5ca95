"""SQLite as the database of the service: one machine, one file, nothing to install."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sqlite3
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import URL, Connection, Engine, Float, create_engine, event, func, literal_column

from api.durable import make_folder, sync_folder

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 30.0  # read when a connection is made
# Execution option of connections that take the write lock at once: how their commits are synced.
WRITES = "backdrop_writes"
# Standing still within a statement, with milliseconds like unixepoch('subsec'), in every version.
NOW = literal_column("((julianday('now') - 2440587.5) * 86400.0)", Float)
greatest = func.max  # of its arguments
# Older ones may corrupt a WAL file that several processes write (sqlite.org/wal.html, WAL reset).
SAFE_SQLITE = (3, 51, 3)


def sqlite_engine(url: URL) -> Engine:
    """An engine on the file of `url`, which is made owner-only if it is missing, its folder too.

    Raises:
        ValueError: the URL names no file.
        OSError: the file cannot be made.
    """
    if not url.database or url.database == ":memory:":
        raise ValueError("the task store needs a file; a database in memory would lose tasks")
    path = Path(url.database).absolute()
    make_folder(path.parent)
    with contextlib.suppress(FileExistsError):  # SQLite gives -wal and -shm the same mode
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        sync_folder(path.parent)
    engine = create_engine(
        url.set(drivername="sqlite", database=str(path)),
        module=sqlite_module(),
        hide_parameters=True,  # else tracebacks would show keys and prompts
        pool_size=8,
        max_overflow=56,  # connections to a file are cheap, waiting for one is not
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def sqlite_module() -> ModuleType:
    """The newest of the SQLite that Python links and the one of the package pysqlite3."""
    module: ModuleType = sqlite3
    if sqlite3.sqlite_version_info < SAFE_SQLITE:
        with contextlib.suppress(ImportError):
            packaged = importlib.import_module("pysqlite3.dbapi2")
            if packaged.sqlite_version_info > sqlite3.sqlite_version_info:
                module = packaged
    logger.info("SQLite %s from %s", module.sqlite_version, module.__name__)
    if module.sqlite_version_info < SAFE_SQLITE:
        logger.warning(
            "SQLite %s may damage a file that several processes write; install pysqlite3 or"
            " a Python with SQLite %d.%d.%d",
            module.sqlite_version,
            *SAFE_SQLITE,
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
    synchronous = connection.get_execution_options().get(WRITES)
    if synchronous is None:
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql(f"PRAGMA synchronous = {synchronous}")
    # A deferred transaction that reads first and writes later can fail at once with "database is
    # locked", whatever the busy timeout: take the write lock at the start.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
