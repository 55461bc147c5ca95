"""The service over an object store that refuses, hangs or dies: nothing accepted is lost."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api import supervisor as supervisor_module
from api.blobs import open_blobs
from api.tasks import TaskStatus
from tests.api.bench import Bench
from tests.api.s3_server import BUCKET, s3_fields, s3_settings
from tests.api.wire import checked, generate, png, signed


@pytest.fixture
def bench(tmp_path: Path, wire) -> Iterator[Bench]:
    bench = Bench(tmp_path, **s3_fields(wire.port, s3_retry_s=0.4))
    yield bench
    bench.store.close()


def test_a_task_is_turned_away_whole_while_images_cannot_be_stored(bench, wire):
    wire.be(refusals=-1)
    answer = bench.caller.http.post("/", json=signed(generate()))
    assert checked(answer.json())["RetCode"] == 2001
    assert int(answer.headers["Retry-After"]) > 0
    assert bench.store.depth() == 0
    wire.be()
    uid = bench.submit()
    assert bench.blobs.get(bench.record(uid).inputs["foreground"]) == png()


def test_a_store_that_dies_between_two_images_leaves_no_task(bench, wire):
    real_put, puts = bench.blobs.put, []

    def put(key: str, data: bytes) -> None:
        puts.append(key)
        if key.endswith("reference"):
            wire.be(refusals=-1)
        real_put(key, data)

    bench.blobs.put = put
    answer = bench.caller.ask(generate(BackgroundImage2Image={"ImageIndex": 1}))
    assert answer["RetCode"] == 2001
    assert (bench.store.depth(), len(puts)) == (0, 2)


def test_a_download_says_503_while_the_store_is_away_and_works_again(bench, wire):
    uid = bench.submit(BatchSize=1)
    bench.run(uid, [0])
    [url] = bench.detail(uid)["ImgList"]
    path = "/" + url.split("/", 3)[3]
    wire.be(refusals=-1)
    answer = bench.caller.http.get(path)
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    wire.be()
    assert bench.caller.http.get(path).content == png(64, 64, "RGB")


def test_presigned_urls_lead_to_the_object_store_and_end_with_the_images(tmp_path, s3_server):
    bench = Bench(tmp_path, result_urls="presigned", **s3_fields(s3_server.port))
    bench.store._images_keep_s = 3.0
    uid = bench.submit(BatchSize=2)
    assert bench.detail(uid)["ImgList"] == []
    bench.run(uid, [0, 1])
    listed = time.time()
    urls = bench.detail(uid)["ImgList"]
    assert all(url.startswith(f"http://127.0.0.1:{s3_server.port}/{BUCKET}/") for url in urls)
    images = [urllib.request.urlopen(url).read() for url in urls]
    assert images == [png(64, 64, "RGB"), png(65, 64, "RGB")]
    assert bench.detail(uid, user="bob")["ImgList"] == []
    lifetimes = [int(url.split("X-Amz-Expires=")[1].split("&")[0]) for url in urls]
    assert all(listed + s <= bench.record(uid).images_expire_at + 1 for s in lifetimes)
    time.sleep(max(0.0, listed + 3.5 - time.time()))
    assert bench.detail(uid)["ImgList"] == []
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urls[0])
    bench.store.close()


# Supervisors --------------------------------------------------------------------------------------


@pytest.fixture
def on_s3(make_service, wire, monkeypatch):
    monkeypatch.setattr(supervisor_module, "STORAGE_DELAY_S", 0.3)

    def make(**changes: Any):
        service = make_service(**changes)
        service.blobs = open_blobs(
            s3_settings(wire.port, f"faults/{time.time_ns()}", s3_retry_s=0.4)
        )
        return service

    return make


def test_a_task_waits_out_a_store_that_refuses_its_inputs_and_images(on_s3, wire):
    service = on_s3()
    uid = service.put(num_images=2, pause_s=0.3)
    wire.be(refusals=-1)
    with service.supervisor():
        time.sleep(1.5)  # inputs cannot be read
        assert service.starts(uid) == 0
        wire.be()
        service.until(lambda: service.starts(uid) == 1)
        wire.be(refusals=-1)  # images cannot be written
        service.wait(uid, TaskStatus.QUEUED)
        wire.be()
        record = service.wait(uid)
    assert (record.status, record.attempts, record.solo) == (TaskStatus.SUCCEEDED, 1, False)
    assert len(record.outputs) == len([service.blobs.get(each.blob_key) for each in record.outputs])


def test_a_store_slower_than_a_lease_costs_no_lease(on_s3, wire):
    service = on_s3(lease_s=1.0)
    uid = service.put(num_images=1)
    wire.be(delay_s=2.0)
    with service.supervisor():
        record = service.wait(uid, timeout_s=30)
    assert (record.status, record.attempts, record.token) == (TaskStatus.SUCCEEDED, 1, 1)


def test_a_frozen_store_costs_no_start(on_s3, s3_server):
    service = on_s3(lease_s=1.0)
    uid = service.put()
    with s3_server.frozen(), service.supervisor():
        time.sleep(2.5)
        assert service.record(uid).attempts <= 1
    with service.supervisor():
        record = service.wait(uid, timeout_s=30)
    assert (record.status, record.attempts) == (TaskStatus.SUCCEEDED, 1)


def test_a_supervisor_process_works_on_the_object_store(make_service, s3_server):
    service = make_service(**s3_fields(s3_server.port))
    uid = service.put(num_images=2)
    with service.supervisor_process():
        record = service.wait(uid)
    assert record.status is TaskStatus.SUCCEEDED
    assert sorted(service.blobs.keys("out")) == [each.blob_key for each in record.outputs]
    assert service.blob_files() == []  # of the local folder
