from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from api.database import open_database
from api.errors import TaskStoreError
from api.key_cipher import KeyCipher, KeySealed, key_cipher
from api.keys import KeyRing
from api.schema import api_keys
from api.settings import Settings

NEW, OLD = bytes(range(32)), bytes(32)


@pytest.fixture
def database(tmp_path: Path):
    database = open_database(f"sqlite:///{tmp_path / 'tasks.db'}")
    yield database
    database.close()


def stored(database) -> dict[str, str]:
    with database.read() as connection:
        rows = connection.execute(select(api_keys.c.public_key, api_keys.c.private_key))
        return {row.public_key: row.private_key for row in rows}


def test_a_sealed_key_opens_with_its_secret_only():
    sealed = KeyCipher([NEW]).seal("private", public_key="public")
    assert "private" not in sealed
    assert KeyCipher([NEW]).open(sealed, public_key="public") == "private"
    assert KeyCipher([OLD, NEW]).open(sealed, public_key="public") == "private"
    for wrong in ([], [OLD]):
        with pytest.raises(KeySealed, match="public"):
            KeyCipher(wrong).open(sealed, public_key="public")


def test_a_sealed_key_opens_in_its_own_row_only():
    sealed = KeyCipher([NEW]).seal("private", public_key="alice")
    with pytest.raises(KeySealed):
        KeyCipher([NEW]).open(sealed, public_key="mallory")


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_damaged_key_does_not_open(cut: int):
    sealed = KeyCipher([NEW]).seal("private", public_key="alice")
    with pytest.raises(KeySealed):
        KeyCipher([NEW]).open(sealed[:-cut] if cut < 100 else sealed[:11], public_key="alice")


def test_equal_keys_are_sealed_differently_each_time():
    cipher = KeyCipher([NEW])
    assert len({cipher.seal("private", public_key="alice") for _ in range(50)}) == 50


def test_what_older_programs_stored_is_read_and_sealed_at_the_next_start(database):
    public, private = KeyRing(database).add()
    assert stored(database) == {public: private}

    ring = KeyRing(database, cipher=KeyCipher([NEW]))
    assert ring.private_key(public) == private
    assert ring.seal_all() == 1
    assert private not in stored(database)[public]
    assert KeyRing(database, cipher=KeyCipher([NEW])).private_key(public) == private
    assert ring.seal_all() == 0


def test_a_change_of_the_secret_seals_everything_anew(database):
    pairs = dict(KeyRing(database, cipher=KeyCipher([OLD])).add() for _ in range(3))
    assert KeyRing(database, cipher=KeyCipher([NEW, OLD])).seal_all() == 3
    ring = KeyRing(database, cipher=KeyCipher([NEW]))
    assert {public: ring.private_key(public) for public in pairs} == pairs
    with pytest.raises(KeySealed):
        KeyRing(database, cipher=KeyCipher([OLD])).seal_all()


def test_a_service_without_the_secret_does_not_start(database):
    KeyRing(database, cipher=KeyCipher([NEW])).add()
    with pytest.raises(KeySealed):
        KeyRing(database).seal_all()


def test_a_revoked_key_is_none_of_those_that_must_open(database):
    public, _ = KeyRing(database, cipher=KeyCipher([OLD])).add()
    ring = KeyRing(database, cipher=KeyCipher([NEW]))
    ring.revoke(public)
    assert ring.seal_all() == 0
    assert ring.private_key(public) is None


def test_a_key_that_was_stored_in_clear_is_not_left_in_the_file(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    first = open_database(url)
    pairs = [KeyRing(first).add() for _ in range(3)]
    first.close()
    assert all(private.encode() in (tmp_path / "tasks.db").read_bytes() for _, private in pairs)

    second = open_database(url)
    assert KeyRing(second, cipher=KeyCipher([NEW])).seal_all() == 3
    second.close()  # the write-ahead log goes with the last connection

    assert [path.name for path in tmp_path.iterdir()] == ["tasks.db"]
    assert not any(private.encode() in (tmp_path / "tasks.db").read_bytes() for _, private in pairs)


def test_no_private_key_is_in_the_file_of_a_sealed_store(database, tmp_path: Path):
    _, private = KeyRing(database, cipher=KeyCipher([NEW])).add()
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert files
    assert not any(private.encode() in data for data in files)


def test_the_secrets_come_from_the_settings_or_from_a_file(tmp_path: Path):
    sealed = KeyCipher([NEW]).seal("private", public_key="p")
    given = Settings(key_secrets=[SecretStr(NEW.hex())])
    assert key_cipher(given).open(sealed, public_key="p") == "private"
    file = tmp_path / "secret"
    file.write_text(f"{OLD.hex()}\n{NEW.hex().upper()}\n")
    assert key_cipher(Settings(key_secret_file=file)).open(sealed, public_key="p") == "private"
    assert key_cipher(Settings()).seal("private", public_key="p") == "private"


@pytest.mark.parametrize("content", ["", "password", "f" * 63, "f" * 65, f"{'f' * 64} password"])
def test_a_file_of_something_else_is_refused_and_not_shown(tmp_path: Path, content: str):
    (tmp_path / "secret").write_text(content)
    with pytest.raises(TaskStoreError, match="64 hex digits") as refused:
        key_cipher(Settings(key_secret_file=tmp_path / "secret"))
    assert "password" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"KEY_SECRETS": "password"}, "64 hex digits"),
        ({"KEY_SECRETS": f"{'f' * 64},password"}, "64 hex digits"),
        ({"KEY_SECRETS": "f" * 64, "KEY_SECRET_FILE": "x"}, "one of both"),
    ],
)
def test_settings_that_name_no_secrets_are_refused(monkeypatch, changes, named):
    for name in os.environ:
        if name.startswith("BACKDROP_"):
            monkeypatch.delenv(name)
    for name, value in changes.items():
        monkeypatch.setenv(f"BACKDROP_{name}", value)
    with pytest.raises(ValueError, match=named):
        Settings()
