"""Key pairs of the callers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy import func, insert, select, update

from api.accounts import account_of, all_accounts, open_account
from api.database import Database
from api.errors import TaskStoreError
from api.key_cipher import KeyCipher
from api.schema import accounts, api_keys
from api.tasks import Account

CACHE_S = 1.0
PUBLIC_KEY_CHARS = 24

_k = api_keys.c


class KeyRefused(TaskStoreError):
    """What was asked cannot be done to this key."""


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key as an operator sees it; times are Unix seconds, None where there is none.

    Attributes:
        in_settings: it stands in the settings instead of the database.
    """

    public_key: str
    label: str
    created_at: float | None
    revoked_at: float | None
    in_settings: bool
    account: Account


class KeyRing:
    """Public to private keys: those of the settings and those in the database.

    A request is signed by SHA1 over its text and the private key (protocol section 2), so the
    service must know private keys in clear; a hash of them could not check a signature. They are
    never logged, and sealed in the database where the service has a secret to seal them with.

    Args:
        database: where the stored pairs lie.
        extra: pairs PUBLIC:PRIVATE of the settings; they win over stored ones.
        cipher: seals and opens what is stored.
    """

    def __init__(
        self,
        database: Database,
        extra: Sequence[SecretStr] = (),
        cipher: KeyCipher | None = None,
    ) -> None:
        self._database = database
        pairs = (pair.get_secret_value().partition(":") for pair in extra)
        self._extra = {public: private for public, _, private in pairs}
        self._cipher = cipher or KeyCipher()
        self._cached: dict[str, str] = {}
        self._cached_until = 0.0

    def private_key(self, public_key: str) -> str | None:
        """The private key, None for an unknown or revoked user. Blocking: may read the database.

        Stored pairs are remembered for `CACHE_S`, so that a running service soon sees what another
        process added or revoked.

        Raises:
            KeySealed: the stored one cannot be opened.
        """
        if public_key in self._extra:
            return self._extra[public_key]
        now = time.monotonic()  # before the read: what is read may be as old as that
        if now >= self._cached_until:
            self._cached = self._stored()
            self._cached_until = now + CACHE_S
        stored = self._cached.get(public_key)
        return None if stored is None else self._cipher.open(stored, public_key=public_key)

    def add(self, label: str = "", account: Account | None = None) -> tuple[str, str]:
        """Make and store a new pair with this account; returns (public, private)."""
        public, private = secrets.token_hex(PUBLIC_KEY_CHARS // 2), secrets.token_hex(32)
        limits = account or Account()
        with self._database.write() as connection:
            connection.execute(
                insert(api_keys).values(
                    public_key=public,
                    private_key=self._cipher.seal(private, public_key=public),
                    label=label,
                    created_at=self._database.now,
                )
            )
            open_account(
                connection,
                public,
                total_points=limits.total_points,
                expires_at=limits.expires_at,
                max_queued=limits.max_queued,
            )
        self._cached_until = 0.0
        return public, private

    def revoke(self, public_key: str) -> None:
        """Have every process refuse the key after `CACHE_S`; its tasks end as they would have.

        Raises:
            KeyRefused: there is no such stored key.
        """
        revocation = (
            update(api_keys)
            .where(_k.public_key == public_key)
            .values(
                revoked_at=func.coalesce(_k.revoked_at, self._database.now),
                # Nobody's: so a process of a version that knows no revoked keys refuses it too.
                private_key=secrets.token_hex(32),
            )
        )
        with self._database.write() as connection:
            if connection.execute(revocation).rowcount == 0:
                raise self._no_stored(public_key)
        self._cached_until = 0.0

    def top_up(self, public_key: str, points: int, *, expires_at: float | None = None) -> Account:
        """Grant more points and, if given, a new time of expiry; returns the account.

        Raises:
            KeyRefused: there is no such stored key, or it is unlimited.
        """
        grant = (
            update(accounts)
            .where(accounts.c.public_key == public_key, accounts.c.total_points.is_not(None))
            .values(total_points=accounts.c.total_points + points)
        )
        if expires_at is not None:
            grant = grant.values(expires_at=expires_at)
        with self._database.write() as connection:
            if connection.scalar(select(_k.created_at).where(_k.public_key == public_key)) is None:
                raise self._no_stored(public_key)
            if connection.execute(grant).rowcount == 0:
                raise KeyRefused(f"the key {public_key} is unlimited")
            return account_of(connection, public_key)

    def entries(self) -> list[KeyEntry]:
        """All keys, those of the settings first, then by age."""
        stored = (
            select(_k.public_key, _k.label, _k.created_at, _k.revoked_at)
            .where(_k.public_key.not_in(self._extra))
            .order_by(_k.created_at, _k.public_key)
        )
        with self._database.read() as connection:
            rows = connection.execute(stored).all()
            account = all_accounts(connection)
        extra = [KeyEntry(public, "", None, None, True, account[public]) for public in self._extra]
        return extra + [KeyEntry(*row, False, account[row.public_key]) for row in rows]

    def seal_all(self) -> int:
        """Seal what is stored in clear or under an earlier secret; how many rows that were.

        Raises:
            KeySealed: a stored key cannot be opened: the service could not check its signatures.
        """
        sealed = 0
        for public_key, stored in self._stored().items():
            if self._cipher.is_current(stored, public_key=public_key):
                continue
            private_key = self._cipher.open(stored, public_key=public_key)
            row = update(api_keys).where(_k.public_key == public_key, _k.private_key == stored)
            row = row.values(private_key=self._cipher.seal(private_key, public_key=public_key))
            with self._database.write() as connection:
                if not self._database.is_postgresql:  # else the key of before stays in the file
                    connection.exec_driver_sql("PRAGMA secure_delete = ON")
                sealed += connection.execute(row).rowcount
        return sealed

    def is_empty(self) -> bool:
        """Whether there never was a pair."""
        with self._database.read() as connection:
            return not self._extra and connection.scalar(select(_k.public_key).limit(1)) is None

    def _stored(self) -> dict[str, str]:
        """What is stored of the private keys that are in force."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(_k.public_key, _k.private_key).where(_k.revoked_at.is_(None))
            )
            return {row.public_key: row.private_key for row in rows}

    def _no_stored(self, public_key: str) -> KeyRefused:
        if public_key in self._extra:
            return KeyRefused(f"the key {public_key} stands in the settings: change it there")
        return KeyRefused(f"there is no key {public_key}")
