"""Who may upload to the page: those who have shown a key pair."""

from __future__ import annotations

import hmac
import math
import time

KEEP_S = 12 * 3600
COOKIE = "backdrop_ui"


class Tickets:
    """Makes and checks what the page's cookie holds: an expiry and its HMAC.

    A ticket opens nothing but the page's uploads; every action is signed as anywhere else.

    Args:
        secret: shared by all replicas; a key of its own is derived from it.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"tickets of the page", "sha256")

    def make(self) -> str:
        """A ticket that is valid from now on for `KEEP_S`."""
        expires = str(math.ceil(time.time() + KEEP_S))
        return f"{expires}.{self._signature(expires)}"

    def is_valid(self, ticket: str) -> bool:
        """Whether it was made here and has not expired; constant time."""
        expires, _, signature = ticket.partition(".")
        if not hmac.compare_digest(self._signature(expires).encode(), signature.encode()):
            return False
        return int(expires) > time.time()

    def _signature(self, expires: str) -> str:
        return hmac.digest(self._key, expires.encode(), "sha256").hex()
