from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from api.database import open_database
from api.schema import metadata
from tests.api.bench import Bench
from tests.api.postgres import Postgres, open_server
from tests.api.s3_server import S3Server, Wire, program
from tests.api.supervised import Service


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """For tests that leave nothing behind which another could see."""
    bench = Bench(tmp_path_factory.mktemp("shared"))
    yield bench
    bench.store.close()


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    services: list[Service] = []

    def make(**changes: Any) -> Service:
        services.append(Service(tmp_path, **changes))
        return services[-1]

    yield make
    for service in services:
        service.store.close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One for all; whoever kills it starts it again."""
    if program() is None:
        pytest.skip("no wheel of the S3 server for this platform")
    pytest.importorskip("obstore", reason="needs the extra s3")
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def wire(s3_server: S3Server) -> Iterator[Wire]:
    wire = Wire(s3_server.port)
    yield wire
    wire.close()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = open_server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def _postgres_url(postgres: Postgres) -> str:
    return postgres.new_database()


@pytest.fixture
def postgres_url(_postgres_url: str) -> str:
    """Of a database whose tables are empty."""
    database = open_database(_postgres_url)
    with database.write() as connection:
        names = ", ".join(metadata.tables)
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
    database.close()
    return _postgres_url
