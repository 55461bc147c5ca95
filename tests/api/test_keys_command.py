"""`backdrop keys`, and what it changes for requests to a service on the same store."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from api.app import create_app
from api.blobs import open_blobs
from api.key_cipher import key_cipher
from api.keys import KeyRing
from api.settings import Settings
from api.store import open_store
from engine.registry import load_registry
from tests.api.command import assert_one_line, run, server
from tests.api.store_contract.stored import claim_one, lease_of, output
from tests.api.wire import Caller, assert_refused, generate, signature

SECRET = "5c" * 32


@pytest.fixture(autouse=True)
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("BACKDROP_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("BACKDROP_KEY_SECRETS", SECRET)
    monkeypatch.setattr("api.keys_command.CACHE_S", 0.0)
    return tmp_path / "data"


@pytest.fixture
def service(data_dir: Path, root: Path):
    """A service as `backdrop api` would run it, that remembers no keys."""
    settings = Settings(data_dir=data_dir, key_secrets=[SecretStr(SECRET)], min_free_disk_bytes=0)
    store = open_store(settings)
    ring = KeyRing(store.database, settings.keys, key_cipher(settings))
    registry = load_registry(root / "models.yaml")
    yield create_app(settings, store, open_blobs(settings), ring, registry)
    store.close()


def keys(capsys, *arguments: object):
    """The JSON answer of the command."""
    status, out, err = run(capsys, "keys", *arguments, "--json")
    assert status == 0, err
    return json.loads(out)


def ask(service, pair: dict[str, str], **fields: object) -> dict:
    body = {"PublicKey": pair["PublicKey"], **fields}
    service.state.service.keys._cached_until = 0.0
    signed = {**body, "Signature": signature(body, pair["PrivateKey"])}
    return Caller(service).post(signed)


def test_a_key_lives_from_add_to_revoke(capsys, service):
    pair = keys(capsys, "add", "--label", "shop", "--credits", 2, "--expires", "2099-01-31")
    request = generate(MainModel={"InferenceParams": {"Steps": 100}}, Width=64, Height=64)
    balance = ask(service, pair, Action="GetCreditBalance")
    assert (balance["TotalCredits"], balance["UsedCredits"]) == (2, 0)
    assert balance["ExpireTimestamp"] == 4073500800  # 2099-01-31 00:00 UTC

    uid = ask(service, pair, **request)["TaskUID"]
    assert ask(service, pair, **request)["RetCode"] == 0
    refused = ask(service, pair, **request)
    assert_refused(refused, 1201, "This task takes 1 credits, 0 are left")
    balance = ask(service, pair, Action="GetCreditBalance")
    assert (balance["UsedCredits"], balance["ReservedCredits"]) == (0, 2)

    store = service.state.service.store
    store.finish(lease_of(claim_one(store)), [output(uid)])
    assert ask(service, pair, Action="GetCreditBalance")["UsedCredits"] == 1
    details = ask(service, pair, Action="ListTasksDetails", TaskUIDList=[uid])["TaskDetailList"]
    assert details[0]["ConsumeApiPoint"] == 1

    answer = keys(capsys, "topup", pair["PublicKey"], 5)
    assert (answer["TotalCredits"], answer["UsedCredits"], answer["ReservedCredits"]) == (7, 1, 1)
    running = ask(service, pair, **request)["TaskUID"]

    assert keys(capsys, "revoke", pair["PublicKey"])["Revoked"] is True
    assert_refused(ask(service, pair, Action="GetCreditBalance"), 172, "User Not Exists")
    assert_refused(ask(service, pair, **request), 172)
    while (record := claim_one(store)).uid != running:
        store.fail(lease_of(record), error_code=1205, error_text="x")
    store.finish(lease_of(record), [output(running)])
    [entry] = keys(capsys, "list")
    assert entry.pop("CreatedTimestamp") == pytest.approx(time.time(), abs=60)
    assert entry.pop("RevokedTimestamp") == pytest.approx(time.time(), abs=60)
    assert entry == {
        "PublicKey": pair["PublicKey"],
        "Label": "shop",
        "State": "revoked",
        "TotalCredits": 7,
        "UsedCredits": 2,
        "ReservedCredits": 0,
        "ExpireTimestamp": 4073500800.0,
        "MaxQueued": None,
    }


def test_a_running_server_seals_old_keys_and_refuses_a_revoked_one_at_once(
    capsys, monkeypatch, data_dir: Path
):
    monkeypatch.undo()
    monkeypatch.setenv("BACKDROP_DATA_DIR", str(data_dir))
    monkeypatch.delenv("BACKDROP_KEY_SECRETS", raising=False)
    pair = keys(capsys, "add")
    fields = {"Action": "ListModels", "PublicKey": pair["PublicKey"]}
    body = {**fields, "Signature": signature(fields, pair["PrivateKey"])}
    monkeypatch.setenv("BACKDROP_KEY_SECRETS", SECRET)
    with server("api", "--port", "0") as (_, url), httpx.Client(trust_env=False) as http:
        with sqlite3.connect(data_dir / "backdrop.sqlite3") as connection:
            [(stored,)] = connection.execute("select private_key from api_keys").fetchall()
        connection.close()
        assert pair["PrivateKey"] not in stored
        assert http.post(url, json=body).json()["RetCode"] == 0
        keys(capsys, "revoke", pair["PublicKey"])
        assert_refused(http.post(url, json=body).json(), 172)


def test_an_expired_key_is_told_so_and_still_reads_its_results(capsys, service):
    pair = keys(capsys, "add", "--expires", "2001-01-01T00:00:00")
    assert_refused(ask(service, pair, **generate()), 1201, "expired")
    assert ask(service, pair, Action="ListRunningTasks")["RetCode"] == 0
    assert ask(service, pair, Action="GetCreditBalance")["TotalCredits"] == 2**31 - 1


def test_stored_keys_are_sealed_and_shown_once(capsys, data_dir: Path):
    status, out, _ = run(capsys, "keys", "add", "--label", "shop")
    assert status == 0
    public, private = (line.split(": ")[1] for line in out.splitlines())
    data = b"".join(path.read_bytes() for path in data_dir.iterdir() if path.is_file())
    assert public.encode() in data
    assert private.encode() not in data
    status, out, _ = run(capsys, "keys", "list")
    assert status == 0
    for text in (public, "shop", "active", "unlimited", "never"):
        assert text in out
    assert private not in out


def test_the_plain_answers_name_the_key_and_its_credits(capsys):
    public = keys(capsys, "add", "--credits", 3)["PublicKey"]
    _, out, _ = run(capsys, "keys", "topup", public, 4)
    assert out == f"{public} has 7 of 7 credits left\n"
    _, out, _ = run(capsys, "keys", "revoke", public)
    assert out == f"{public} is revoked; what it has running will end\n"


def test_a_share_is_told_as_json_too(capsys):
    answer = keys(capsys, "share", "public", "--weight", 2, "--max-running", 3)
    assert answer == {"PublicKey": "public", "Weight": 2.0, "Priority": 0, "MaxRunning": 3}


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["revoke", "nobody"], ["nobody"]),
        (["topup", "nobody", 5], ["nobody"]),
        (["add", "--data-dir", "/dev/null/data"], ["/dev/null"]),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(capsys, arguments, texts):
    status, out, err = run(capsys, "keys", *arguments)
    assert (status, out) == (2, "")
    assert_one_line(err, *texts)


@pytest.mark.parametrize(
    "arguments",
    [["topup", "x", 0], ["topup", "x", -5], ["add", "--credits", -1], ["add", "--expires", "soon"]],
)
def test_impossible_values_are_usage_errors(capsys, arguments):
    status, _, err = run(capsys, "keys", *arguments)
    assert status == 2
    assert re.search("Invalid value|No such option", err)


def test_a_wrong_secret_is_told_in_one_line(capsys, monkeypatch):
    keys(capsys, "add")
    monkeypatch.setenv("BACKDROP_KEY_SECRETS", "ab" * 32)
    status, _, err = run(capsys, "api", "--port", "0")
    assert status == 2
    assert_one_line(err, "sealed", "key_secrets")
    assert "ab" * 32 not in err
