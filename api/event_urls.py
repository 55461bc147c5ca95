"""URLs of event streams: for one task of one key, unguessable, expiring, valid on every replica.

A browser's EventSource sends no body, so that the URL itself must carry the right to read.
"""

from __future__ import annotations

import hmac
import time
from urllib.parse import urlencode

KEEP_S = 3600


class EventUrls:
    """Makes and checks the URLs.

    Args:
        secret: shared by all replicas; a key of its own is derived from it.
        base_url: of this service as clients reach it.
    """

    def __init__(self, secret: bytes, base_url: str) -> None:
        self._key = hmac.digest(secret, b"event streams", "sha256")
        self._base_url = base_url.rstrip("/")

    def make(self, uid: str, tenant: str) -> tuple[str, int]:
        """The URL of a task's stream for its owner, and when it expires in Unix seconds."""
        expires = int(time.time()) + KEEP_S
        signature = self._signature(uid, tenant, str(expires))
        query = urlencode({"key": tenant, "expires": expires, "signature": signature})
        return f"{self._base_url}/events/{uid}?{query}", expires

    def is_valid(self, uid: str, tenant: str, *, expires: str, signature: str) -> bool:
        """Whether a URL with these parts was made here and has not expired; constant time."""
        expected = self._signature(uid, tenant, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            return False
        return int(expires) > time.time()

    def _signature(self, uid: str, tenant: str, expires: str) -> str:
        # Lengths keep the parts apart whatever they hold.
        message = "".join(f"{len(part)}:{part}" for part in (uid, tenant, expires))
        return hmac.digest(self._key, message.encode(), "sha256").hex()
