"""The database of the service: short transactions, its clock, and what its errors mean.

What is special to SQLite and PostgreSQL lies in `api.sqlite` and `api.postgresql`; everything else
speaks SQLAlchemy Core.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import URL, ColumnElement, Connection, Engine, Table, exc, insert, make_url, select
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite as sqlite_dialect

from api import migrations, postgresql, sqlite
from api.errors import StoreUnavailable, TaskStoreError
from api.outage import Outage, one_line
from api.schema import meta

# SQLSTATEs of what a wait mends though their class says otherwise: a standby that takes no writes.
_UNAVAILABLE_STATES = {"25006"}

Upsert = sqlite_dialect.Insert | postgresql_dialect.Insert


class Database:
    """An engine, its clock, and the one way to read and to write.

    Args:
        engine: of SQLite or PostgreSQL.

    Attributes:
        is_postgresql: what it is.
        now: SQL expression of the database's clock, Unix seconds as a float, which stands still
            within a statement. All replicas share this clock, so that no worker's wrong clock can
            end another's lease.
        greatest: SQL function, the greatest of its arguments.
    """

    now: ColumnElement[float]
    greatest: Callable[..., Any]

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader: Engine = engine
        self._writer: Engine = engine
        self._unsynced_writer: Engine = engine
        self._outage = Outage()
        self.is_postgresql = engine.dialect.name == "postgresql"
        if self.is_postgresql:
            self.now, self.greatest = postgresql.NOW, postgresql.greatest
            self._reader = engine.execution_options(**postgresql.SNAPSHOT)
            self._one_writer: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        else:
            self.now, self.greatest = sqlite.NOW, sqlite.greatest
            self._writer = engine.execution_options(**{sqlite.WRITES: "FULL"})
            self._unsynced_writer = engine.execution_options(**{sqlite.WRITES: "NORMAL"})
            # Waiting here is fair; SQLite's own back-off let one of 2,000 inserts wait 3.2 s.
            self._one_writer = threading.Lock()

    @property
    def url(self) -> URL:
        """Where it is; hides the password when shown."""
        return self._engine.url

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction over one snapshot.

        Raises:
            StoreUnavailable: the database cannot be reached or read for now.
            TaskStoreError: it is not this program's: a table or a column is missing.
        """
        with (
            self._outage.watched("read"),
            _errors_named(),
            self._reader.begin() as connection,
        ):
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction, committed to the disk at the end; do no other I/O inside.

        Raises:
            StoreUnavailable: the database is locked, full or cannot be reached for now.
            TaskStoreError: it is not this program's: a table or a column is missing.
        """
        with (
            self._outage.watched("write"),
            _errors_named(),
            self._one_writer,
            self._writer.begin() as connection,
        ):
            yield connection

    @contextlib.contextmanager
    def write_unsynced(self) -> Iterator[Connection]:
        """As `write`, but a power cut may undo it: nobody waits for the disk.

        What `write` commits after it takes it to the disk with it, and is as safe as ever.
        """
        with (
            self._outage.watched("write"),
            _errors_named(),
            self._one_writer,
            self._unsynced_writer.begin() as connection,
        ):
            if self.is_postgresql:
                connection.exec_driver_sql(postgresql.UNSYNCED)
            yield connection

    def connect_alone(self) -> Any:
        """A connection of the driver's own, that no pool knows; close it.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        with _errors_named():
            pooled = self._engine.raw_connection()
            connection = pooled.driver_connection
            pooled.detach()
            return connection

    def insert(self, table: Table) -> Upsert:
        """An insert that knows `on_conflict_do_update`."""
        if self.is_postgresql:
            return postgresql_dialect.insert(table)
        return sqlite_dialect.insert(table)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def open_database(url: str | URL) -> Database:
    """Open the database at `url` and bring its tables to this program's revision.

    A SQLite file is made owner-only, in a folder that is made owner-only if it is missing.

    Raises:
        ValueError: not a URL of a supported database, or its driver is not installed.
        TaskStoreError: the tables were made by a later version of this program, or the file is
            damaged or no database.
        StoreUnavailable: the database cannot be reached.
    """
    url = make_url(url)
    match url.get_backend_name():
        case "sqlite":
            engine = sqlite.sqlite_engine(url)
        case "postgresql":
            engine = postgresql.postgresql_engine(url)
        case other:
            raise ValueError(f"no support for databases of kind {other}")
    database = Database(engine)
    try:
        _migrate(database)
    except BaseException:
        database.close()
        raise
    return database


def insert_if_absent(connection: Connection, name: str, value: str) -> str:
    """Set `name` in the table `meta` unless it is there; what stands there now.

    Atomic: of two processes that set it at the same time, both get the same value.
    """
    with contextlib.suppress(exc.IntegrityError), connection.begin_nested():
        connection.execute(insert(meta).values(name=name, value=value))
    stored: str = connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar_one()
    return stored


def _migrate(database: Database) -> None:
    with database.read() as connection:
        if migrations.is_current(connection):
            return
    with database.write() as connection:  # on SQLite this is the lock
        if database.is_postgresql:
            postgresql.lock_for_upgrade(connection)
        if not migrations.is_current(connection):
            migrations.upgrade(connection)


@contextlib.contextmanager
def _errors_named() -> Iterator[None]:
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as cause:
        orig = getattr(cause, "orig", cause)
        # No table, no column, bad SQL: waiting does not help. Locked, full and the like have codes
        # of their own.
        if getattr(orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            raise _misfit(orig) from cause
        raise StoreUnavailable(one_line(orig)) from cause
    except exc.IntegrityError:
        raise  # the caller's to name: what it wrote is there already
    except exc.DatabaseError as cause:
        sqlstate = getattr(cause.orig, "sqlstate", None)
        if cause.connection_invalidated or sqlstate in _UNAVAILABLE_STATES:
            raise StoreUnavailable(one_line(cause.orig)) from cause
        if isinstance(cause, exc.ProgrammingError):
            raise _misfit(cause.orig) from cause
        raise TaskStoreError(f"the task store is damaged: {cause.orig}") from cause


def _misfit(orig: object) -> TaskStoreError:
    return TaskStoreError(f"the task store does not fit this program: {orig}")
