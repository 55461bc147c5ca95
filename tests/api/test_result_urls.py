from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import pytest

from api.result_urls import ResultUrls, base_url, bound_url
from api.settings import Settings
from api.tasks import TaskOutput, TaskStatus
from tests.api.records import record

SECRET = bytes(range(32))
UID = "c0ffee00000000000000"


def parts(url: str) -> tuple[str, str, str, str]:
    """uid, index, expires and signature of a URL."""
    split = urlsplit(url)
    uid, file = split.path.split("/")[-2:]
    query = parse_qs(split.query)
    return uid, file.removesuffix(".png"), query["expires"][0], query["signature"][0]


def is_valid(urls: ResultUrls, uid: str, index: str, expires: str, signature: str) -> bool:
    return urls.is_valid(uid, index, expires=expires, signature=signature)


def later(seconds: float = 60) -> int:
    return int(time.time() + seconds)


def test_a_url_is_absolute_and_valid_until_it_expires():
    urls = ResultUrls(SECRET, "https://example.test/base/")
    url = urls.url(UID, 3, later())
    assert url.startswith(f"https://example.test/base/results/{UID}/3.png?expires=")
    assert is_valid(urls, *parts(url))
    assert not is_valid(urls, *parts(urls.url(UID, 3, later(-1))))


def test_another_replica_with_the_same_secret_accepts_it():
    url = ResultUrls(SECRET, "http://one").url(UID, 0, later())
    assert is_valid(ResultUrls(SECRET, "http://two"), *parts(url))
    assert not is_valid(ResultUrls(bytes(32), "http://one"), *parts(url))


def test_no_part_can_be_changed():
    urls = ResultUrls(SECRET, "http://host")
    uid, index, expires, signature = parts(urls.url(UID, 1, later()))
    assert not is_valid(urls, uid[:-1] + "1", index, expires, signature)
    assert not is_valid(urls, uid, "2", expires, signature)
    assert not is_valid(urls, uid, "01", expires, signature)
    assert not is_valid(urls, uid, index, str(int(expires) + 1), signature)
    assert not is_valid(urls, uid, index, f"+{expires}", signature)
    for position in range(len(signature)):
        other = "0" if signature[position] != "0" else "1"
        changed = signature[:position] + other + signature[position + 1 :]
        assert not is_valid(urls, uid, index, expires, changed)


@pytest.mark.parametrize("garbage", ["", "x", "é", "9" * 5000, "\x00", "nan", "-1"])
def test_garbage_is_no_url(garbage: str):
    urls = ResultUrls(SECRET, "http://host")
    good = parts(urls.url(UID, 1, later()))
    for position in range(4):
        changed = [*good[:position], garbage, *good[position + 1 :]]
        assert not is_valid(urls, *changed)


def test_a_records_urls_are_stable_in_order_and_end_with_its_images():
    urls = ResultUrls(SECRET, "http://host")
    outputs = tuple(TaskOutput(i, f"k{i}", "0", "image/png", 8, 6, 1, i) for i in range(3))
    kept = record(TaskStatus.SUCCEEDED, outputs=outputs, images_expire_at=time.time() + 60.5)
    listed = urls.of_record(kept)
    assert [parts(url)[1] for url in listed] == ["0", "1", "2"]
    assert urls.of_record(kept) == listed
    assert int(parts(listed[0])[2]) >= kept.images_expire_at

    gone = record(TaskStatus.SUCCEEDED, outputs=outputs, images_expire_at=time.time() - 1)
    assert urls.of_record(gone) == []
    assert urls.of_record(record(TaskStatus.QUEUED)) == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:81"),
        ("0.0.0.0", "http://127.0.0.1:81"),
        ("::", "http://[::1]:81"),
        ("fd00::7", "http://[fd00::7]:81"),
        ("box.lan", "http://box.lan:81"),
    ],
)
def test_the_base_is_the_bound_address_unless_set(host: str, expected: str):
    bound = Settings(host=host, port=81)
    assert base_url(bound) == bound_url(bound) == expected
    public = Settings(host=host, port=81, public_base_url="https://example.test")
    assert base_url(public) == "https://example.test"
    assert bound_url(public) == expected
