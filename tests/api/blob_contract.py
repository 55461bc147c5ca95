"""What every blob store must do; a test class of each store inherits this.

The fixture `blobs` gives an empty store.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.blobs import BlobNotFound, BlobStore, InvalidBlobKey, input_key, output_key
from api.blobs.keys import day_of, uid_of

BAD_KEYS = ["", "/etc/passwd", "..", "../x", "a/../../x", "a/./b", "a//b", "a/", ".hidden", "a/.t"]
BAD_KEYS += ["a\\b", "a b", "a\n", "a\0b", "ä", "~/x", "a?b", "a#b", "a%2e"]


class BlobStoreContract:
    def test_what_is_put_is_got(self, blobs: BlobStore) -> None:
        for size in (0, 1, 100_000, 9_000_000):  # the last is above 5 MB, S3's smallest part
            data = os.urandom(size)
            blobs.put("in/20260101/u/uid.foreground", data)
            assert blobs.get("in/20260101/u/uid.foreground") == data

    def test_a_second_put_replaces_the_first(self, blobs: BlobStore) -> None:
        blobs.put("a/b", b"first, and longer")
        blobs.put("a/b", b"second")
        assert blobs.get("a/b") == b"second"

    @pytest.mark.parametrize("key", ["none", "a", "a/b/c"])
    def test_a_missing_blob_is_named(self, blobs: BlobStore, key: str) -> None:
        blobs.put("a/b", b"x")
        with pytest.raises(BlobNotFound, match=key):
            blobs.get(key)

    def test_deleting_takes_the_blobs_and_bears_those_that_are_not_there(
        self, blobs: BlobStore
    ) -> None:
        blobs.put("out/20260101/one/t1/0.png", b"x")
        blobs.put("out/20260101/two/t1/0.png", b"y")
        blobs.delete(["out/20260101/one/t1/0.png", "never/there", "out/20260101/one/t1/0.png"])
        blobs.delete([])
        with pytest.raises(BlobNotFound):
            blobs.get("out/20260101/one/t1/0.png")
        assert blobs.get("out/20260101/two/t1/0.png") == b"y"
        blobs.put("out/20260101/one/t1/0.png", b"again")

    def test_more_blobs_than_a_page_are_listed_and_deleted(self, blobs: BlobStore) -> None:
        keys = [f"in/20260101/{number % 32}/u{number}.foreground" for number in range(1100)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: blobs.put(key, b""), keys))
        assert sorted(blobs.keys("in")) == sorted(keys)
        blobs.delete(keys)
        assert list(blobs.keys("in")) == []

    def test_days_and_their_blobs_are_listed(self, blobs: BlobStore) -> None:
        assert blobs.folders("out") == []
        assert list(blobs.keys("out")) == []
        keys = [
            "out/20260101/one/t1/0.png",
            "out/20260101/one/t2/0.png",
            "out/20260102/two/t1/0.png",
        ]
        for key in [*keys, "in/20260103/u/u.foreground", "outer/20260104/x"]:
            blobs.put(key, b"x")
        assert sorted(blobs.folders("out")) == ["20260101", "20260102"]
        assert sorted(blobs.keys("out")) == keys
        assert sorted(blobs.keys("out/20260101")) == keys[:2]

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_no_key_leaves_the_store(self, blobs: BlobStore, key: str) -> None:
        uses = (
            lambda: blobs.put(key, b"x"),
            lambda: blobs.get(key),
            lambda: blobs.delete([key]),
            lambda: blobs.folders(key),
            lambda: list(blobs.keys(key)),
        )
        for use in uses:
            with pytest.raises(InvalidBlobKey):
                use()

    def test_no_reader_sees_half_a_blob(self, blobs: BlobStore) -> None:
        contents = [bytes([letter]) * 300_000 for letter in b"ab"]
        blobs.put("a/b", contents[0])

        def write() -> None:
            for round_ in range(30):
                blobs.put("a/b", contents[round_ % 2])

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            while not writing.done():
                assert blobs.get("a/b") in contents
            writing.result()

    def test_a_put_wins_over_a_delete_beside_it(self, blobs: BlobStore) -> None:
        def come_and_go(name: str) -> None:
            for _ in range(30):
                blobs.put(f"a/b/{name}", b"x")
                assert blobs.get(f"a/b/{name}") == b"x"
                blobs.delete([f"a/b/{name}"])

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(come_and_go, ["one", "two"]))

    def test_keys_say_day_task_attempt_and_image(self, blobs: BlobStore) -> None:
        uid = "c0ffee00000000000000"
        keys = [input_key(uid, "foreground"), output_key(uid, 2, 15)]
        keys.append(output_key(uid, 1, 0, created_at=0.0))
        assert keys[2] == f"out/19700101/{uid}/t1/0.png"
        for key in keys:
            blobs.put(key, b"x")
            assert uid_of(key) == uid
        assert sorted(blobs.folders("out"))[0] == day_of(0.0) == "19700101"
        assert uid_of("in/20260101/other") is None
