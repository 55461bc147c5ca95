"""The contract on PostgreSQL, and what is its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from api.store import SqlTaskStore
from tests.api.store_contract import TaskStoreContract
from tests.api.store_contract.stored import MakeStore


@pytest.fixture
def make_store(postgres_url: str) -> Iterator[MakeStore]:
    stores: list[SqlTaskStore] = []

    def make(**arguments: Any) -> SqlTaskStore:
        stores.append(SqlTaskStore(postgres_url, **arguments))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


class TestPostgresStore(TaskStoreContract):
    """The contract on PostgreSQL."""
