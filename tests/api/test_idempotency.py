from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from api import submit
from api.idempotency import NOTE
from api.schema import tasks as t
from api.store import SqlTaskStore
from tests.api.bench import Bench
from tests.api.wire import as_base64, assert_refused, generate, png


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, idempotency_keys=True)
    yield bench
    bench.store.close()


def num_tasks(bench: Bench) -> int:
    with bench.store.database.read() as connection:
        return connection.execute(select(func.count()).select_from(t)).scalar_one()


def test_the_same_request_again_is_the_same_task(bench: Bench):
    uid = bench.submit(IdempotencyKey="order-7")
    files = bench.files()
    assert bench.submit(IdempotencyKey="order-7", request_uuid="another") == uid
    bench.run(uid, [0])
    assert bench.submit(IdempotencyKey="order-7") == uid
    assert num_tasks(bench) == 1
    assert set(files) <= set(bench.files())
    assert bench.store.account(tenant="alice").used_points == bench.record(uid).points
    assert bench.detail(uid)["Note"] == ""


def test_it_is_found_before_anything_is_decoded_or_asked_of_the_queue(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    uid = bench.submit(IdempotencyKey="order-7")
    monkeypatch.setattr(submit, "decode_foreground", None)
    monkeypatch.setattr(type(bench.app.state.service.back_pressure), "require_room", None)
    assert bench.submit(IdempotencyKey="order-7") == uid


@pytest.mark.parametrize(
    "changes",
    [
        {"Seed": 1},
        {"PositivePrompts": ["red sky"]},
        {"ImageList": [as_base64(png(73, 64)), as_base64(png(80, 60, "RGB"))]},
        {"ImageList": [as_base64(png())]},
    ],
)
def test_another_request_under_the_key_is_refused(bench: Bench, changes: dict[str, object]):
    bench.submit(IdempotencyKey="order-7")
    answer = bench.caller.ask(generate(IdempotencyKey="order-7", **changes))
    assert_refused(answer, 230, "[IdempotencyKey]")
    assert num_tasks(bench) == 1


def test_keys_of_two_tenants_have_nothing_to_do_with_each_other(bench: Bench):
    uids = {bench.submit(user, IdempotencyKey="order-7") for user in ("alice", "bob")}
    assert len(uids) == 2


def test_without_a_key_equal_requests_are_tasks_of_their_own(bench: Bench):
    assert len({bench.submit(), bench.submit(), bench.submit(IdempotencyKey="x")}) == 3


def test_twins_at_the_same_time_make_one_task_and_leave_no_files_over(bench: Bench):
    with ThreadPoolExecutor(6) as pool:
        uids = set(pool.map(lambda _: bench.submit(IdempotencyKey="order-7"), range(6)))
    [uid] = uids
    assert num_tasks(bench) == 1
    assert len(bench.files()) == 1
    assert bench.store.account(tenant="alice").reserved_points == bench.record(uid).points


def test_a_refused_request_leaves_its_key_free(bench: Bench):
    assert_refused(bench.caller.ask(generate(IdempotencyKey="k", ImageList=["%%%"])), 230)
    assert bench.submit(IdempotencyKey="k")


def test_the_key_is_free_again_with_the_end_of_the_record(bench: Bench):
    short = SqlTaskStore(bench.store.database, images_keep_s=0.0, records_keep_s=0.0)
    uid = bench.submit(IdempotencyKey="order-7")
    short.cancel(uid, tenant="alice")
    assert bench.submit(IdempotencyKey="order-7") == uid
    time.sleep(0.01)
    short.purge()
    short.purge()
    assert bench.submit(IdempotencyKey="order-7") != uid


@pytest.mark.parametrize("value", ["", "x" * 256, 5, ["x"]])
def test_a_key_is_a_text_of_at_most_255_characters(bench: Bench, value: object):
    assert_refused(bench.caller.ask(generate(IdempotencyKey=value)), 230, "[IdempotencyKey]")


def test_switched_off_it_has_no_effect_and_the_task_says_so(tmp_path: Path):
    (tmp_path / "off").mkdir()
    bench = Bench(tmp_path / "off")
    first, second = (bench.submit(IdempotencyKey="order-7") for _ in range(2))
    assert first != second
    assert bench.detail(second)["Note"] == NOTE
    bench.store.close()
