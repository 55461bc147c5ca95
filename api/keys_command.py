"""`backdrop keys add|list|revoke|topup|share`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from api.key_cipher import key_cipher
from api.keys import CACHE_S, PUBLIC_KEY_CHARS, KeyEntry, KeyRing
from api.settings import Settings
from api.store import open_store
from api.tasks import Account


def add_key(settings: Settings, *, label: str, account: Account, as_json: bool) -> None:
    """Makes a key pair and prints it.

    Raises:
        TaskStoreError: the store cannot be used.
    """
    with _ring(settings) as ring:
        public, private = ring.add(label, account)
    if as_json:
        _print_json({"PublicKey": public, "PrivateKey": private})
        return
    typer.echo(f"PublicKey: {public}")
    typer.echo(f"PrivateKey: {private}")


def list_keys(settings: Settings, *, as_json: bool) -> None:
    """Prints every key with its account; private halves are never shown.

    Raises:
        TaskStoreError: the store cannot be used.
    """
    with _ring(settings) as ring:
        entries = ring.entries()
    if as_json:
        _print_json([_as_json(entry) for entry in entries])
        return
    whole = Column("PublicKey", overflow="fold", min_width=PUBLIC_KEY_CHARS)
    columns = (whole, "label", "state", "credits", "used", "reserved", "expires")
    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for entry in entries:
        account = entry.account
        table.add_row(
            entry.public_key,
            entry.label,
            _state(entry),
            _credits(account.total_points),
            str(account.used_points),
            str(account.reserved_points),
            _time(account.expires_at) or "never",
        )
    Console().print(table)


def revoke_key(settings: Settings, public_key: str, *, as_json: bool) -> None:
    """Revokes a key; when this returns, no process takes its requests any more.

    Raises:
        KeyRefused: there is no such stored key.
        TaskStoreError: the store cannot be used.
    """
    with _ring(settings) as ring:
        ring.revoke(public_key)
    time.sleep(CACHE_S)  # so long other processes may remember it
    if as_json:
        _print_json({"PublicKey": public_key, "Revoked": True})
    else:
        typer.echo(f"{public_key} is revoked; what it has running will end")


def top_up_key(
    settings: Settings,
    public_key: str,
    points: int,
    *,
    expires_at: float | None,
    as_json: bool,
) -> None:
    """Grants a key more points and prints what it has left.

    Raises:
        KeyRefused: there is no such stored key, or it is unlimited.
        TaskStoreError: the store cannot be used.
    """
    with _ring(settings) as ring:
        account = ring.top_up(public_key, points, expires_at=expires_at)
    if as_json:
        _print_json({"PublicKey": public_key, **_account_json(account)})
    else:
        typer.echo(f"{public_key} has {account.left_points} of {account.total_points} credits left")


def share_key(
    settings: Settings, public_key: str, changes: Mapping[str, Any], *, as_json: bool
) -> None:
    """Changes fields of a key's `Share` and prints it.

    Raises:
        ValueError: a value is out of range.
        TaskStoreError: the store cannot be used.
    """
    with closing(open_store(settings)) as store:
        share = replace(store.fair_queue.share(public_key), **changes)
        store.fair_queue.set_share(public_key, share)
    if as_json:
        values = {"Weight": share.weight, "Priority": share.priority}
        _print_json({"PublicKey": public_key, **values, "MaxRunning": share.max_running})
        return
    limit = share.max_running or "as the service has it"
    typer.echo(f"weight {share.weight:g}, priority {share.priority}, max running {limit}")


@contextmanager
def _ring(settings: Settings) -> Iterator[KeyRing]:
    with closing(open_store(settings)) as store:
        yield KeyRing(store.database, settings.keys, key_cipher(settings))


def _as_json(entry: KeyEntry) -> dict[str, Any]:
    return {
        "PublicKey": entry.public_key,
        "Label": entry.label,
        "State": _state(entry),
        "CreatedTimestamp": entry.created_at,
        "RevokedTimestamp": entry.revoked_at,
        **_account_json(entry.account),
    }


def _account_json(account: Account) -> dict[str, Any]:
    """Named as in GetCreditBalance; null is unlimited or never."""
    return {
        "TotalCredits": account.total_points,
        "UsedCredits": account.used_points,
        "ReservedCredits": account.reserved_points,
        "ExpireTimestamp": account.expires_at,
        "MaxQueued": account.max_queued,
    }


def _state(entry: KeyEntry) -> str:
    if entry.revoked_at is not None:
        return "revoked"
    return "of the settings" if entry.in_settings else "active"


def _credits(points: int | None) -> str:
    return "unlimited" if points is None else str(points)


def _time(unix_s: float | None) -> str:
    if unix_s is None:
        return ""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))
