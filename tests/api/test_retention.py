"""Images end, records stay longer: what pollers and uploads in flight see of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api.blobs import LocalBlobs
from api.orphans import OrphanSweeper
from api.publish import Publisher
from api.store import SqlTaskStore
from tests.api.bench import Bench
from tests.api.wire import generate, png


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    bench = Bench(tmp_path)
    bench.store._images_keep_s = 0.5
    yield bench
    bench.store.close()


def path_of(url: str) -> str:
    return "/" + url.split("/", 3)[3]


def test_the_time_at_which_images_end_is_told_and_kept(bench):
    uid = bench.submit(BatchSize=1)
    assert bench.detail(uid)["ExpireTimestamp"] == 0
    bench.run(uid, [0])
    detail = bench.detail(uid)
    expires = detail["ExpireTimestamp"]
    assert expires == int(bench.record(uid).images_expire_at)
    [url] = detail["ImgList"]
    assert bench.caller.http.get(path_of(url)).status_code == 200
    time.sleep(0.6)
    Publisher(bench.store, bench.blobs).purge(limit=10)
    detail = bench.detail(uid)
    assert (detail["ImgList"], detail["ExpireTimestamp"]) == ([], expires)
    assert detail["Status"] == "Finished"
    assert bench.caller.http.get(path_of(url)).status_code == 404
    assert bench.files() == []


def test_polls_in_flight_bear_a_purge(bench):
    """A poller gets an image whole or 404, never anything else."""
    publisher = Publisher(bench.store, bench.blobs)
    began = time.monotonic()
    uids: list[str] = []
    seen: list[int] = []

    def goes_on() -> bool:
        """For two seconds, and on a busy machine until an image was seen before it was purged."""
        elapsed_s = time.monotonic() - began
        return elapsed_s < 2.0 or (200 not in seen and elapsed_s < 60.0)

    def poll() -> None:
        while goes_on():
            for uid in uids[-3:]:
                for url in bench.detail(uid)["ImgList"]:
                    answer = bench.caller.http.get(path_of(url))
                    assert answer.status_code in (200, 404)
                    if answer.status_code == 200:
                        assert answer.content == png(64, 64, "RGB")
                    seen.append(answer.status_code)

    def purge() -> None:
        while goes_on():
            publisher.purge(limit=10)

    with ThreadPoolExecutor(3) as pool:
        polls = [pool.submit(poll) for _ in range(2)]
        purging = pool.submit(purge)
        while goes_on():
            uids.append(bench.submit(BatchSize=1))
            bench.run(uids[-1], [0])
            time.sleep(0.1)
        for each in (purging, *polls):
            each.result()
    assert 200 in seen


class SlowBlobs(LocalBlobs):
    """A disk that takes its time, before and after."""

    def put(self, key: str, data: bytes) -> None:
        time.sleep(0.1)
        super().put(key, data)
        time.sleep(0.1)


def test_a_slow_upload_bears_purges_and_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.api.bench.open_blobs", lambda s: SlowBlobs(s.data_dir / "blobs"))
    bench = Bench(tmp_path)
    other = SqlTaskStore(f"sqlite:///{tmp_path / 'tasks.sqlite3'}", images_keep_s=0)
    publisher = Publisher(other, bench.blobs)
    sweeper = OrphanSweeper(other.database, bench.blobs, images_keep_s=0)
    fields = generate(BackgroundImage2Image={"ImageIndex": 1})
    with ThreadPoolExecutor(6) as pool:
        uploads = [pool.submit(bench.caller.call, "alice", **fields) for _ in range(12)]
        while not all(upload.done() for upload in uploads):
            publisher.purge(limit=100)
            sweeper.sweep()
        uids = [upload.result()["TaskUID"] for upload in uploads]
    for uid in uids:
        inputs = bench.record(uid).inputs
        assert bench.blobs.get(inputs["foreground"]) == png()
        assert bench.blobs.get(inputs["reference"])
    other.close()
    bench.store.close()
