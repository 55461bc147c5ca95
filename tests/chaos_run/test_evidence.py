"""Where the evidence comes from: the clients' journal, triggers in the database, the blob store."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import httpx
import pytest

from api.blobs import open_blobs
from api.settings import Settings
from api.store import open_store
from api.tasks import Claimant, Lease, TaskOutput
from scripts.chaos_run.customers import Book, Customer, pixel_digest
from scripts.chaos_run.disk import Disk
from scripts.chaos_run.faults import schedule, weights
from scripts.chaos_run.journal import Journal
from scripts.chaos_run.orders import KEYS, NUM_VARIANTS, order, owner_of, variant_of
from scripts.chaos_run.relay import Relay, Relays
from scripts.chaos_run.stand_in_child import picture
from scripts.chaos_run.verdict import Move, published_twice
from scripts.chaos_run.witness import digests_of, moves_of, rows_of, station
from tests.api.store_contract.stored import new_task


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def test_triggers_note_every_state_change_even_those_behind_the_stores_back(settings):
    store = open_store(settings)
    for _ in range(2):  # a run that goes on finds them there
        station(store)
    task = new_task("a", tenant="alice")
    store.put(task)
    [record] = store.claim(Claimant("worker"), limit=1, lease_s=10)
    output = TaskOutput(0, "out/a/0.png", "sha", "image/png", 64, 64, 1, 7)
    store.finish(Lease(task.uid, "worker", record.token), [output])
    moves = moves_of(store)
    assert moves == [
        Move(task.uid, "queued", "running"),
        Move(task.uid, "running", "succeeded"),
        Move(task.uid, "", "output 0"),
    ]
    assert published_twice(moves) == []
    row = rows_of(store)[task.uid]
    assert (row.owner, row.state, row.outputs) == ("alice", "succeeded", (("out/a/0.png", "sha"),))

    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE tasks SET state = 'succeeded'")
    assert published_twice(moves_of(store)) == [task.uid]
    store.close()


def test_images_are_read_from_the_blob_store_itself(settings):
    blobs = open_blobs(settings)
    blobs.put("out/20260101/a/t1/0.png", b"image")
    blobs.put("in/20260101/a/foreground", b"upload")
    [(key, digest)] = digests_of(blobs).items()
    blobs.put(key, b"other")
    assert digests_of(blobs)[key] != digest


def test_a_picture_shows_its_seed_and_its_cut_out():
    pictures = [picture(1, b"cup"), picture(2, b"cup"), picture(1, b"jug"), picture(1, b"cup")]
    assert len({pixel_digest(each) for each in pictures}) == 3
    assert len({json.dumps(order(variant)) for variant in range(NUM_VARIANTS)}) == NUM_VARIANTS


def test_no_picture_is_ordered_by_two_keys():
    owners: dict[int, set[str]] = {}
    for number in range(200):
        owners.setdefault(variant_of(number), set()).add(owner_of(number))
    assert {len(each) for each in owners.values()} == {1}
    assert set.union(*owners.values()) == set(KEYS)


def test_a_run_goes_on_where_it_was_killed(tmp_path):
    journal = Journal(tmp_path / "journal")
    for number in range(4):
        journal.add("order", number=number)
    journal.add("accepted", number=0, uid="a", owner="alice", variant=0)
    journal.add("accepted", number=1, uid="b", owner="bob", variant=1)
    journal.add("ended", uid="a")
    journal.close()
    with (tmp_path / "journal").open("a") as file:
        file.write('{"kind": "acc')  # the kill came here
    again = Journal(tmp_path / "journal")
    book = Book(again, limit=6)
    again.close()
    assert book.num_accepted == 2
    assert (book.take_open("alice"), book.take_open("bob")) == ({}, {"b": 1})
    assert [book.take("alice") for _ in range(3)] == [2, 4, None]
    assert [book.take("bob") for _ in range(3)] == [3, 5, None]


def test_the_faults_of_a_seed_are_the_same_and_go_on_where_they_stopped():
    kinds = weights(postgresql=True, s3=True, stand_in=True)

    def drawn(seed: int, skip: int = 0) -> list[object]:
        return list(islice(schedule(seed, kinds, pace_s=1, lease_s=3, skip=skip), 50))

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(1, skip=20)[:30] == drawn(1)[20:]


@pytest.fixture
def relay() -> Iterator[Relay]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    relays = Relays()
    yield relays.add(lambda: ("127.0.0.1", server.server_port))
    relays.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [(Relay.cut, httpx.NetworkError), (Relay.silence, httpx.ReadTimeout)],
)
def test_a_relay_can_be_broken_and_mended(relay, spoil, fault):
    def answers() -> bool:
        with httpx.Client(timeout=0.5, trust_env=False) as client:
            return client.head(f"http://127.0.0.1:{relay.port}/").status_code == 200

    assert answers()
    spoil(relay)
    with pytest.raises((fault, httpx.RemoteProtocolError)):
        answers()
    relay.mend()
    assert answers()


def test_a_full_disk_takes_nothing_until_it_is_freed(tmp_path):
    disk = Disk(tmp_path / "disk")
    if not disk.can_be_filled:
        pytest.skip("mounting is not permitted here")
    try:
        disk.fill()
        with pytest.raises(OSError, match="No space"):
            (disk.folder / "file").write_bytes(bytes(4096))
        disk.free()
        (disk.folder / "file").write_bytes(bytes(4096))
    finally:
        disk.remove()
    assert list(disk.folder.iterdir()) == []


def test_customers_end_without_an_answer_when_the_run_does(tmp_path):
    journal = Journal(tmp_path / "journal")
    book = Book(journal, limit=2)
    customer = Customer("alice", [1], book, journal)  # nothing listens there
    customer.start()
    book.stop.set()
    customer.join(10)
    assert not customer.is_alive()
    journal.close()
    assert [each["kind"] for each in journal.entries()] == ["order"]
