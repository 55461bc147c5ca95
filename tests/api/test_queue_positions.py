from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import insert

from api.queue_positions import QueuePositions
from api.schema import tasks
from api.store import SqlTaskStore
from api.tasks import Claimant, TaskStatus
from tests.api.store_contract.stored import new_task

DEPTH = 10_000


@pytest.fixture
def store(tmp_path: Path):
    store = SqlTaskStore(f"sqlite:///{tmp_path / 'tasks.sqlite3'}")
    yield store
    store.close()


def test_positions_are_the_order_in_which_tasks_are_claimed(store: SqlTaskStore):
    uids = [f"u{number}" for number in range(4)]
    for uid in uids:
        store.put(new_task(uid))
    positions = QueuePositions(store.database, max_age_s=0)
    assert [positions.of(uid) for uid in uids] == [1, 2, 3, 4]
    for _ in uids[:2]:
        store.claim(Claimant("w"), limit=1, lease_s=60)
    assert [positions.of(uid) for uid in uids[2:]] == [1, 2]
    assert positions.of("queued a moment ago") == 3


def test_ten_thousand_tasks_are_read_once_for_all_that_ask(store: SqlTaskStore):
    fields = {
        "tenant": "alice",
        "action": "GenerateBackgrounds",
        "state": TaskStatus.QUEUED,
        "model_key": "m",
        "compat_key": "c",
        "params": {"PositivePrompts": ["x" * 500]},
        "inputs": {},
        "seed": 1,
        "num_images": 1,
        "points": 1,
        "note": "",
        "max_attempts": 3,
        "created_at": 0.0,
    }
    with store.database.write() as connection:
        connection.execute(insert(tasks), [{"uid": f"{n:05}", **fields} for n in range(DEPTH)])
    positions = QueuePositions(store.database, max_age_s=60)
    started = time.perf_counter()
    assert positions.of(f"{DEPTH - 1:05}") == DEPTH
    assert time.perf_counter() - started < 0.5  # 10 to 20 ms on an idle core

    with store.database.write() as connection:
        connection.execute(tasks.delete())
    assert [positions.of(f"{n:05}") for n in range(DEPTH)] == list(range(1, DEPTH + 1))
