"""Key pairs of the callers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from pydantic import SecretStr
from sqlalchemy import insert, select

from api.database import Database
from api.schema import api_keys

_CACHE_S = 1.0


class KeyRing:
    """Public to private keys: those of the settings and those in the database.

    A request is signed by SHA1 over its text and the private key (protocol section 2), so the
    service must know private keys in clear; a hash of them could not check a signature. They are
    as safe as the database file, which is readable by its owner only, and are never logged.

    Args:
        database: where the stored pairs lie.
        extra: pairs PUBLIC:PRIVATE of the settings; they win over stored ones.
    """

    def __init__(self, database: Database, extra: Sequence[SecretStr] = ()) -> None:
        self._database = database
        pairs = (pair.get_secret_value().partition(":") for pair in extra)
        self._extra = {public: private for public, _, private in pairs}
        self._cached: dict[str, str] = {}
        self._cached_until = 0.0

    def private_key(self, public_key: str) -> str | None:
        """The private key, None for an unknown user. Blocking: may read the database.

        Stored pairs are remembered for a second, so that a running service soon sees a pair
        that another process added.
        """
        if public_key in self._extra:
            return self._extra[public_key]
        if time.monotonic() >= self._cached_until:
            self._cached = self._stored()
            self._cached_until = time.monotonic() + _CACHE_S
        return self._cached.get(public_key)

    def add(self, label: str = "") -> tuple[str, str]:
        """Make and store a new pair; returns (public, private)."""
        public, private = secrets.token_hex(12), secrets.token_hex(32)
        with self._database.write() as connection:
            connection.execute(
                insert(api_keys).values(
                    public_key=public,
                    private_key=private,
                    label=label,
                    created_at=self._database.now,
                )
            )
        self._cached_until = 0.0
        return public, private

    def is_empty(self) -> bool:
        """Whether no pair exists at all."""
        return not self._extra and not self._stored()

    def _stored(self) -> dict[str, str]:
        with self._database.read() as connection:
            rows = connection.execute(select(api_keys.c.public_key, api_keys.c.private_key))
            return {row.public_key: row.private_key for row in rows}
