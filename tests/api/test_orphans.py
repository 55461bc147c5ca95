"""Blobs that nobody refers to go, and no other does."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.blobs import BlobStore, LocalBlobs, input_key, open_blobs, output_key
from api.orphans import OrphanSweeper, take_turn
from api.publish import Publisher
from api.store import SqlTaskStore
from api.tasks import TaskStatus
from tests.api.s3_server import s3_settings
from tests.api.store_contract.stored import in_state, lease_of, new_task, output, try_claim

DAY_S = 24 * 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlTaskStore]:
    store = SqlTaskStore(f"sqlite:///{tmp_path / 'tasks.db'}", images_keep_s=0.2, queue_keep_s=60)
    yield store
    store.close()


@pytest.fixture(params=["local", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "local":
        return LocalBlobs(tmp_path / "blobs")
    server = request.getfixturevalue("s3_server")
    return open_blobs(s3_settings(server.port, f"orphans/{time.time_ns()}"))


def keys_of(blobs: BlobStore) -> set[str]:
    return {key for kind in ("in", "out") for key in blobs.keys(kind)}


def sweeper_of(store: SqlTaskStore, blobs: BlobStore) -> OrphanSweeper:
    return OrphanSweeper(store.database, blobs, images_keep_s=0.2)


def test_old_blobs_go_unless_a_task_still_has_its_images(store, blobs):
    statuses = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.RUNNING, TaskStatus.QUEUED)
    live = [in_state(store, status)[0] for status in statuses]
    kept = {f"in/20200101/x/{uid}.foreground" for uid in live}
    kept |= {f"out/20200102/{uid}/t1/0.png" for uid in live}
    fresh = {input_key("none", "foreground"), output_key("none", 1, 0)}
    fresh.add(output_key("none", 2, 0, created_at=time.time() - DAY_S))  # may still be written
    foreign = {"in/20200101/readme", "in/notes/old.txt"}
    orphans = {"in/20200101/n/none.foreground", "in/20200101/n/none.reference"}
    orphans |= {f"out/20200102/none/t{token}/0.png" for token in range(3)}
    for key in kept | fresh | foreign | orphans:
        blobs.put(key, b"x")

    assert sweeper_of(store, blobs).sweep() == len(orphans)
    assert keys_of(blobs) == kept | fresh | foreign
    assert sweeper_of(store, blobs).sweep() == 0


def test_what_a_purge_could_not_delete_goes_later(store, blobs):
    uid, _ = in_state(store, TaskStatus.SUCCEEDED)
    key = f"out/20200101/{uid}/t1/0.png"
    blobs.put(key, b"x")
    sweeper = sweeper_of(store, blobs)
    assert sweeper.sweep() == 0
    time.sleep(0.25)
    assert [purged.uid for purged in store.purge()] == [uid]
    assert sweeper.sweep() == 1
    assert keys_of(blobs) == set()


def test_more_than_a_batch_goes(store, blobs):
    keys = [f"in/20200101/u/u{number}.foreground" for number in range(700)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: blobs.put(key, b""), keys))
    assert sweeper_of(store, blobs).sweep() == 700


def test_of_many_workers_one_sweeps_in_an_hour(store, blobs):
    blobs.put("in/20200101/n/none.foreground", b"x")
    sweepers = [sweeper_of(store, blobs) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        deleted = list(pool.map(lambda sweeper: sweeper.sweep_if_due(), sweepers))
    assert sorted(deleted) == [0] * 7 + [1]
    assert not take_turn(store.database, period_s=3600)
    time.sleep(0.05)
    assert take_turn(store.database, period_s=0.02)


def test_two_sweeps_at_once_do_no_harm(store, blobs):
    uid, _ = in_state(store, TaskStatus.SUCCEEDED)
    kept = f"out/20200101/{uid}/t1/0.png"
    blobs.put(kept, b"x")
    for number in range(40):
        blobs.put(f"out/20200101/none{number}/t1/0.png", b"x")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: sweeper_of(store, blobs).sweep(), range(2)))
    assert keys_of(blobs) == {kept}


def test_the_thread_sweeps_and_ends(store, blobs, monkeypatch):
    monkeypatch.setattr("api.orphans.LOOK_S", 0.01)
    blobs.put("in/20200101/n/none.foreground", b"x")
    sweeper = sweeper_of(store, blobs)
    sweeper.start()
    deadline = time.monotonic() + 20
    while keys_of(blobs):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sweeper.stop()


def test_temporary_files_of_dead_writers_and_empty_folders_go(store, tmp_path):
    blobs = LocalBlobs(tmp_path / "blobs")
    folder = tmp_path / "blobs" / "in" / "20200101" / "u"
    (folder / "empty").mkdir(parents=True)
    dead, alive = (folder / f".u.foreground.{letter * 16}" for letter in "ab")
    for path in (dead, alive):
        path.write_bytes(b"half")
    os.utime(dead, (time.time() - 2 * DAY_S,) * 2)
    sweeper_of(store, blobs).sweep()
    assert [path.name for path in folder.iterdir()] == [alive.name]
    os.utime(alive, (time.time() - 2 * DAY_S,) * 2)
    sweeper_of(store, blobs).sweep()
    assert list((tmp_path / "blobs").iterdir()) == []


def test_no_image_of_a_live_task_goes_while_tasks_come_and_go(store, blobs):
    """Tasks of an old day are run, purged and swept all at once; what is listed can be read."""
    publisher = Publisher(store, blobs)
    stop = time.monotonic() + 1.5
    uids: list[str] = []

    def run() -> None:
        while time.monotonic() < stop:
            task = new_task()
            store.put(task)
            record = try_claim(store)
            assert record is not None
            image = output(record.uid)
            uids.append(record.uid)
            blobs.put(image.blob_key, record.uid.encode())  # out/20260101/...
            store.finish(lease_of(record), [image])

    def read() -> int:
        num_read = 0
        while time.monotonic() < stop:
            for uid in uids[-5:]:
                before = store.get(uid)
                for image in before.outputs if before else ():
                    try:
                        assert blobs.get(image.blob_key) == uid.encode()
                        num_read += 1
                    except Exception:
                        assert not store.get(uid).outputs, f"{uid} is listed and not there"
        return num_read

    def clean() -> None:
        while time.monotonic() < stop:
            publisher.purge(limit=100)
            sweeper_of(store, blobs).sweep()

    with ThreadPoolExecutor(4) as pool:
        works = [pool.submit(work) for work in (run, read, clean, clean)]
        assert [work.result() for work in works][1] > 10
    time.sleep(0.25)
    publisher.purge(limit=10_000)
    assert keys_of(blobs) == set()
