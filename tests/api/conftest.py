from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.bench import Bench


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
