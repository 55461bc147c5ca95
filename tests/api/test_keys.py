from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from api.database import open_database
from api.keys import CACHE_S, KeyRefused, KeyRing
from api.tasks import Account


@pytest.fixture
def open_ring(tmp_path):
    databases = []

    def open_(*extra: str) -> KeyRing:
        databases.append(open_database(f"sqlite:///{tmp_path / 'tasks.db'}"))
        return KeyRing(databases[-1], [SecretStr(pair) for pair in extra])

    yield open_
    for database in databases:
        database.close()


def test_an_added_pair_is_known(open_ring):
    ring = open_ring()
    public, private = ring.add("laptop")

    assert ring.private_key(public) == private
    assert ring.private_key("nobody") is None
    assert ring.private_key(private) is None


def test_pairs_survive_reopening(open_ring):
    public, private = open_ring().add()

    assert open_ring().private_key(public) == private


def test_pairs_are_random_and_safe_in_a_shell(open_ring):
    ring = open_ring()
    with ThreadPoolExecutor(4) as pool:
        pairs = list(pool.map(ring.add, "abcdefgh"))

    assert len(set(pairs)) == len({public for public, _ in pairs}) == 8
    for public, private in pairs:
        assert re.fullmatch("[0-9a-f]{24}", public)
        assert re.fullmatch("[0-9a-f]{64}", private)


def test_pairs_of_the_settings_are_known_and_not_stored(open_ring):
    ring = open_ring("alice:a:b", "bob:secret")

    assert ring.private_key("alice") == "a:b"
    assert ring.private_key("bob") == "secret"
    assert open_ring().private_key("alice") is None


def test_a_pair_of_the_settings_wins_over_a_stored_one(open_ring):
    public, _ = open_ring().add()

    assert open_ring(f"{public}:changed").private_key(public) == "changed"


def test_a_ring_is_empty_until_a_pair_comes_from_anywhere(open_ring):
    assert open_ring().is_empty()
    assert not open_ring("alice:secret").is_empty()

    open_ring().add()

    assert not open_ring().is_empty()


def test_a_pair_added_elsewhere_is_soon_known(open_ring, monkeypatch):
    clock = 1000.0
    monkeypatch.setattr("api.keys.time.monotonic", lambda: clock)
    server, command_line = open_ring(), open_ring()
    assert server.private_key("anybody") is None
    public, private = command_line.add()

    assert server.private_key(public) is None  # remembered, not asked again
    clock += 1.5
    assert server.private_key(public) == private


def test_known_pairs_cost_no_query_for_a_second(open_ring):
    ring = open_ring()
    public, private = ring.add()
    ring.private_key(public)
    with ring._database.write() as connection:
        connection.exec_driver_sql("delete from api_keys")

    assert ring.private_key(public) == private


def test_a_revoked_pair_is_unknown_soon_everywhere_and_for_good(open_ring, monkeypatch):
    clock = 1000.0
    monkeypatch.setattr("api.keys.time.monotonic", lambda: clock)
    server, command_line = open_ring(), open_ring()
    public, private = command_line.add()
    assert server.private_key(public) == private

    command_line.revoke(public)
    command_line.revoke(public)

    assert command_line.private_key(public) is None
    clock += CACHE_S
    assert server.private_key(public) is None
    assert not open_ring().is_empty(), "no new pair is made in its place"
    with server._database.read() as connection:
        stored = connection.exec_driver_sql("select private_key from api_keys").scalar_one()
    assert private != stored, "also a server that knows no revoked keys refuses it"
    assert re.fullmatch("[0-9a-f]{64}", stored)


def test_an_account_is_opened_with_the_pair_and_topped_up(open_ring):
    ring = open_ring()
    limited, _ = ring.add("shop", Account(total_points=10, expires_at=5.0, max_queued=3))
    unlimited, _ = ring.add()

    assert ring.top_up(limited, 32) == Account(total_points=42, expires_at=5.0, max_queued=3)
    assert ring.top_up(limited, 1, expires_at=9.0).expires_at == 9.0
    with pytest.raises(KeyRefused, match="unlimited"):
        ring.top_up(unlimited, 1)


def test_top_ups_at_once_all_count(open_ring):
    ring = open_ring()
    public, _ = ring.add(account=Account(total_points=0))
    rings = [open_ring() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: [each.top_up(public, 5) for _ in range(5)], rings))

    [entry] = ring.entries()
    assert entry.account.total_points == 100


def test_a_key_that_is_not_stored_cannot_be_changed(open_ring):
    ring = open_ring("alice:secret")
    for change in (ring.revoke, lambda key: ring.top_up(key, 1)):
        with pytest.raises(KeyRefused, match="no key nobody"):
            change("nobody")
        with pytest.raises(KeyRefused, match="alice stands in the settings"):
            change("alice")


def test_entries_show_every_key_and_no_private_half(open_ring):
    ring = open_ring("alice:secret")
    first, private = ring.add("shop", Account(total_points=7))
    second, _ = ring.add("old")
    ring.revoke(second)

    entries = ring.entries()

    assert [entry.public_key for entry in entries] == ["alice", first, second]
    assert [entry.label for entry in entries] == ["", "shop", "old"]
    assert [entry.in_settings for entry in entries] == [True, False, False]
    assert [entry.revoked_at is None for entry in entries] == [True, True, False]
    assert [entry.account.total_points for entry in entries] == [None, 7, None]
    assert private not in repr(entries)
    assert "secret" not in repr(entries)
