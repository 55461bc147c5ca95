"""The servers beside the service, from their wheels: PostgreSQL and an S3 object store."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Protocol

import psutil
from psycopg.errors import DuplicateDatabase
from sqlalchemy import URL

from tests.api.postgres import OwnServer
from tests.api.s3_server import ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, S3Server

_DATABASE = "chaos"


class Server(Protocol):
    """What can be killed and comes back with its data."""

    def kill(self) -> None:
        """Kill -9."""
        ...

    def start(self) -> None:
        """Start it again; returns once it answers."""
        ...

    def pids(self) -> list[int]:
        """Its processes."""
        ...


class PostgresqlServer:
    """PostgreSQL on a Unix socket, with one database for the run.

    Args:
        folder: of its data; what a run before left is taken up.
    """

    def __init__(self, folder: Path) -> None:
        self._server = OwnServer(folder)
        self.kill, self.start, self.pids = self._server.kill, self._server.start, self._server.pids
        self.close = self._server.close
        self.socket = f"{self._server.url.query['host']}/.s.PGSQL.5432"
        with contextlib.suppress(DuplicateDatabase):  # made by a run before
            self._server.execute(f"CREATE DATABASE {_DATABASE}")

    def url(self, port: int) -> URL:
        """Of the database by way of a relay."""
        user = self._server.url.username
        return URL.create("postgresql", user, host="127.0.0.1", port=port, database=_DATABASE)


class ObjectServer:
    """An S3 server on loopback.

    Args:
        folder: of its data; what a run before left is taken up.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        _end_orphan(folder)
        self._server = S3Server(folder)
        self.kill, self.start = self._server.kill, self._server.start
        self.port = self._server.port

    def pids(self) -> list[int]:
        """See `Server.pids`."""
        return [self._server.pid]

    def close(self) -> None:
        """Ends it."""
        self._server.close()

    def settings(self, port: int) -> dict[str, str]:
        """BACKDROP_... variables that lead to it by way of a relay."""
        return {
            "BACKDROP_S3_URL": f"s3://{BUCKET}/chaos",
            "BACKDROP_S3_ENDPOINT": f"http://127.0.0.1:{port}",
            "BACKDROP_S3_ALLOW_HTTP": "true",
            "BACKDROP_S3_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "BACKDROP_S3_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "BACKDROP_S3_TIMEOUT_S": "3",
            "BACKDROP_S3_RETRY_S": "1",
        }


def _end_orphan(folder: Path) -> None:
    """End the S3 server of a run that was killed: it would hold the data."""
    mark = f"-dir={folder / 'data'}"
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if mark in process.cmdline():
                process.kill()
                process.wait(10)
