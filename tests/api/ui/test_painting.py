from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from api.tasks import Claimant, Lease
from api.ui.choices import Choices
from api.ui.handlers import Handlers
from api.ui.painting import KeyPair, Painter
from api.ui.shelf import Shelf
from backdrop.client import Client
from engine.errors import BadImage
from tests.api.bench import Bench
from tests.api.wire import KEYS, png
from tests.backdrop.client.test_client import work

BASE = "http://testserver"
KEY_PAIR = KeyPair("alice", KEYS["alice"])


class TestPainter(Painter):
    """Reaches the service without a socket."""

    __test__ = False

    def __init__(self, bench: Bench, shelf: Shelf) -> None:
        super().__init__(BASE, bench.settings.public_base_url or "", shelf)
        self._http = bench.caller.http

    def client(self, keys: KeyPair, *, max_retries: int = 2) -> Client:
        return Client(BASE, keys.public, keys.private, max_retries=max_retries, http=self._http)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, public_base_url="https://pictures.example/api/")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf", keep_s=60)


@pytest.fixture
def handlers(bench: Bench, shelf: Shelf) -> Handlers:
    return Handlers(TestPainter(bench, shelf), shelf, max_image_pixels=10_000)


@pytest.fixture
def choices(tmp_path: Path) -> Choices:
    (tmp_path / "cup.png").write_bytes(png())
    return Choices(str(tmp_path / "cup.png"), 64, 64, prompts="sky", seed=2**31 - 1, batch_size=2)


def test_a_run_ends_with_its_images_newest_first(bench, handlers, choices):
    shown = []
    for each in handlers.paint(KEY_PAIR, choices, ["earlier"]):
        shown.append(each)
        if each.uid and len([one for one in shown if one.uid]) == 1:
            assert "place 1" in each.status
            work(bench, each.uid, indexes=[0, 1])
    *earlier, picture, last = reversed(shown[-1].pictures)
    assert earlier == ["earlier"]
    assert [last.seed, picture.seed] == [2**31 - 1, 0]
    assert Path(last.file).read_bytes() == png(64, 64, "RGB")
    assert Path(picture.file).read_bytes() == png(65, 64, "RGB")
    assert (shown[-1].uid, "Done" in shown[-1].status) == ("", True)
    assert (picture.choices.seed, picture.choices.batch_size) == (0, 1)
    before, after = handlers.before_and_after(last)
    assert Path(before).read_bytes() != Path(after).read_bytes()


def test_a_run_shows_its_previews_until_it_ends(bench, handlers, choices):
    shown, lease = [], None
    for each in handlers.paint(KEY_PAIR, choices, []):
        shown.append(each)
        if each.live:
            bench.store.end_canceled(lease)
        elif each.uid and lease is None:
            [claimed] = bench.store.claim(Claimant("w"), limit=1, lease_s=60)
            assert claimed.params["Preview"] is True
            lease = Lease(each.uid, "w", claimed.token)
            done = {each.uid: (0.5, "denoising")}
            looks = {each.uid: {0: png(8, 8, "RGB"), 1: png(8, 8, "RGB")}}
            bench.store.beat([lease], lease_s=60, progress=done, previews=looks)
    assert shown[-2].live.count("<img") == 2
    assert (shown[0].live, shown[-1].live) == ("", "")


def test_a_canceled_run_says_so_and_keeps_what_there_was(handlers, choices):
    shown = []
    for each in handlers.paint(KEY_PAIR, choices, ["earlier"]):
        shown.append(each)
        if each.uid:
            handlers.cancel(KEY_PAIR, each.uid)
    assert ("Canceled" in shown[-1].status, shown[-1].uid) == (True, "")
    assert shown[-1].pictures == ["earlier"]


@pytest.mark.parametrize(
    ("keys", "text"),
    [(KeyPair("nobody", "x"), "User Not Exists"), (KeyPair("alice", "x"), "Signature")],
)
def test_keys_that_do_not_fit_are_told(handlers, choices, keys, text):
    *_, last = handlers.paint(keys, choices, [])
    assert text in last.status
    assert "error" in last.status


def test_a_refusal_is_told_in_the_services_words(handlers, choices, tmp_path):
    (tmp_path / "cup.png").write_bytes(png(mode="RGB"))
    *_, last = handlers.paint(KEY_PAIR, choices, [])
    assert "ImageList" in last.status


def test_an_upload_is_refused_as_a_request_would_be(handlers, tmp_path):
    large = tmp_path / "large.png"
    large.write_bytes(png(101, 100))
    with pytest.raises(BadImage, match="pixels"):
        handlers.placements(str(large), 64, 64)
    with pytest.raises(BadImage, match="gone"):
        handlers.canvas_of(str(tmp_path / "nothing.png"))


def test_a_shelf_is_private_and_forgets_what_is_old(tmp_path):
    shelf = Shelf(tmp_path / "shelf", keep_s=60, max_bytes=10)
    other = Shelf(tmp_path / "shelf", keep_s=60, max_bytes=10)
    assert shelf.folder != other.folder
    assert shelf.folder.stat().st_mode & 0o077 == 0
    old, new = other.put("old.png", b"12345678"), shelf.put("new.png", b"12345678")
    assert not shelf.has_room()
    os.utime(old, (0, time.time() - 61))
    assert shelf.has_room()
    assert (old.exists(), new.exists()) == (False, True)
