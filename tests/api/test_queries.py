from __future__ import annotations

import dataclasses
import hashlib
import time
from pathlib import Path

import pytest

from api import errors, submit
from api.store import SqlTaskStore
from api.tasks import NewTask
from tests.api.bench import Bench
from tests.api.wire import KEYS, checked, png


def test_a_task_goes_from_queuing_to_finished_with_urls(bench: Bench):
    uid = bench.submit(Seed=2**31 - 1, BatchSize=2)
    assert bench.detail(uid)["Status"] == "Queuing"
    assert bench.caller.call(Action="ListRunningTasks")["TaskUIDList"] == [uid]
    bench.run(uid, [0, 1])
    detail = bench.detail(uid)
    assert detail["Status"] == "Finished"
    assert detail["Seed"] == 2**31 - 1
    assert detail["SeedList"] == [2**31 - 1, 0]
    assert detail["ConsumeApiPoint"] == bench.record(uid).points
    assert bench.caller.call(Action="ListRunningTasks")["TaskUIDList"] == []
    for index, url in enumerate(detail["ImgList"]):
        response = bench.caller.http.get(url)
        assert response.status_code == 200
        assert response.content == png(64 + index, 64, "RGB")
        assert response.headers["content-type"] == "image/png"
        assert response.headers["cache-control"] == "private"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["etag"] == f'"{hashlib.sha256(response.content).hexdigest()}"'
        again = bench.caller.http.get(url, headers={"If-None-Match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        head = bench.caller.http.head(url)
        assert (head.status_code, head.content) == (200, b"")


def test_a_failed_task_shows_the_images_that_succeeded(bench: Bench):
    uid = bench.submit(Seed=10, BatchSize=3)
    bench.run(uid, [0, 2], error_code=errors.TASK_GENERATION_FAILED, error_text="image 1: NaN")
    detail = bench.detail(uid)
    assert (detail["Status"], detail["ErrorCode"]) == ("Error", 1205)
    assert detail["ErrorMassage"] == detail["ErrorMessage"] == "image 1: NaN"
    assert detail["SeedList"] == [10, 12]
    assert detail["ConsumeApiPoint"] == 0
    contents = [bench.caller.http.get(url).content for url in detail["ImgList"]]
    assert contents == [png(64, 64, "RGB"), png(66, 64, "RGB")]


@pytest.mark.parametrize("code", [1204, 1205])
def test_a_failure_in_the_worker_shows_its_code(bench: Bench, code: int):
    uid = bench.submit()
    bench.run(uid, [], error_code=code, error_text="why")
    assert bench.detail(uid)["ErrorCode"] == code


def test_a_canceled_task_shows_1206(bench: Bench):
    uid = bench.submit()
    bench.store.cancel(uid, tenant="alice")
    detail = bench.detail(uid)
    assert (detail["Status"], detail["ErrorCode"]) == ("Error", 1206)
    assert detail["ErrorMassage"] != ""


def test_an_expired_task_shows_1207(bench: Bench):
    uid = bench.submit()
    impatient = SqlTaskStore(bench.store.database, queue_keep_s=0.001)
    expiring = copy_of(bench, uid)
    impatient.put(expiring)
    time.sleep(0.02)
    assert impatient.sweep() == [expiring.uid]
    detail = bench.detail(expiring.uid)
    assert (detail["Status"], detail["ErrorCode"]) == ("Error", 1207)
    assert bench.detail(uid)["Status"] == "Queuing"


def copy_of(bench: Bench, uid: str) -> NewTask:
    """The task `uid` as a new one."""
    record = bench.record(uid)
    names = {field.name for field in dataclasses.fields(NewTask)}
    fields = {name: getattr(record, name) for name in names}
    return NewTask(**{**fields, "uid": submit.new_uid()})


def test_unknown_tasks_are_answered_in_the_order_asked(bench: Bench):
    first, second = bench.submit(), bench.submit()
    asked = [second, "nonsense", first, "é" * 100, second, ""]
    answer = bench.caller.call(Action="ListTasksDetails", TaskUIDList=asked)
    details = answer["TaskDetailList"]
    assert [detail["TaskUID"] for detail in details] == asked
    assert [detail["ErrorCode"] for detail in details] == [0, 1203, 0, 1203, 0, 1203]
    assert len({frozenset(detail) for detail in details}) == 1


def test_older_queries_answer_for_new_tasks(bench: Bench):
    uid = bench.submit()
    bench.run(uid, [0])
    urls = bench.detail(uid)["ImgList"]
    expected = {
        "TaskType": "TaskGeneratePicture",
        "TaskStatus": "Finished",
        "FinalPictureUrls": urls,
        "TaskErrorMsg": "",
        "TaskErrorCode": 0,
    }
    listed = bench.caller.call(Action="ListGenerateTaskDetail", TaskUIDs=[uid, "x"])
    assert listed["TaskDetailList"][0] == {"TaskUid": uid, **expected}
    assert listed["TaskDetailList"][1]["TaskErrorCode"] == 1203
    single = bench.caller.call(Action="GetGenerateTaskDetail", TaskUID=uid)
    assert single == {"RetCode": 0, "Action": "GetGenerateTaskDetail", "Message": "", **expected}


def test_a_key_sees_nothing_of_anothers_tasks(bench: Bench):
    uid = bench.submit("alice")
    bench.run(uid, [0])
    running = bench.submit("alice")
    for hidden in (uid, running):
        foreign = bench.detail(hidden, user="bob")
        unknown = bench.detail("v" * 20, user="bob")
        assert {**foreign, "TaskUID": ""} == {**unknown, "TaskUID": ""}
        answer = bench.caller.call("bob", Action="GetGenerateTaskDetail", TaskUID=hidden)
        assert (answer["TaskErrorCode"], answer["FinalPictureUrls"]) == (1203, [])
    assert bench.caller.call("bob", Action="ListRunningTasks")["TaskUIDList"] == []
    assert bench.caller.call("alice", Action="ListRunningTasks")["TaskUIDList"] == [running]


def test_the_balance_is_unlimited(shared: Bench):
    answer = shared.caller.call(Action="GetCreditBalance")
    assert answer["TotalCredits"] - answer["UsedCredits"] > 10**9
    assert answer["ExpireTimestamp"] > time.time()


# Result images ----------------------------------------------------------------------------------


def test_a_changed_or_expired_result_url_is_not_found(bench: Bench):
    uid = bench.submit()
    bench.run(uid, [0])
    [url] = bench.detail(uid)["ImgList"]
    path, _, query = url.partition("?")
    urls = bench.app.state.service.urls
    for wrong in (
        path,
        f"{path}?",
        f"{path}?expires=x&signature=y",
        f"{path}?{query}0",
        f"{path}?{query.upper()}",
        url.replace("/0.png", "/1.png"),
        url.replace("/0.png", "/00.png"),
        url.replace("/0.png", "/-1.png"),
        url.replace("/0.png", "/x.png"),
        url.replace(uid, "0" * 20),
        url.replace(uid, "%2e%2e"),
        urls.url(uid, 1, int(time.time()) + 60),  # well signed, but there is no such image
        urls.url("0" * 20, 0, int(time.time()) + 60),
        urls.url(uid, 0, int(time.time()) - 1),
    ):
        response = bench.caller.http.get(wrong)
        assert response.status_code == 404, wrong
        checked(response.json())
    assert bench.caller.http.get(url).status_code == 200


def test_a_result_url_works_as_long_as_its_key_does(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    ring = bench.app.state.service.keys
    public, private = ring.add("shop")
    monkeypatch.setitem(KEYS, public, private)
    uid = bench.submit(public)
    bench.run(uid, [0])
    [url] = bench.detail(uid, public)["ImgList"]
    assert bench.caller.http.get(url).status_code == 200
    ring.revoke(public)
    assert bench.caller.http.get(url).status_code == 404


def test_images_are_gone_once_they_are_purged(tmp_path: Path):
    bench = Bench(tmp_path)
    bench.store = SqlTaskStore(bench.store.database, images_keep_s=0.3)
    uid = bench.submit()
    bench.run(uid, [0])
    [url] = bench.detail(uid)["ImgList"]
    far = bench.app.state.service.urls.url(uid, 0, int(time.time()) + 60)
    assert bench.caller.http.get(far).status_code == 200
    time.sleep(0.35)
    assert bench.detail(uid)["ImgList"] == []
    assert bench.detail(uid)["Status"] == "Finished"
    for purged in bench.store.purge():
        bench.blobs.delete(purged.blob_keys)
    for gone in (url, far):
        assert bench.caller.http.get(gone).status_code == 404


def test_an_image_whose_file_is_gone_is_not_found(bench: Bench):
    uid = bench.submit()
    bench.run(uid, [0])
    [url] = bench.detail(uid)["ImgList"]
    bench.blobs.delete([bench.record(uid).outputs[0].blob_key])
    assert bench.caller.http.get(url).status_code == 404
