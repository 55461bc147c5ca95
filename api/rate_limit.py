"""How often a key may call: a token bucket for each."""

from __future__ import annotations

import math
import threading
import time

from api.errors import Throttled


class RateLimit:
    """Token buckets in the memory of this process, which replicas do not share.

    A bucket in the database would cost a synced write for every poll; N API processes let N times
    the rate through. Only keys whose signature was proven have a bucket, so that nobody can empty
    another's, nor fill the memory with made-up ones. Safe from any thread.

    Args:
        requests_per_s: a key's lasting rate; None for no limit.
        burst: requests that a rested key may make at once.
    """

    def __init__(self, requests_per_s: float | None, *, burst: int) -> None:
        self._requests_per_s = requests_per_s
        self._burst = burst
        self._full_at: dict[str, float] = {}  # when each key's bucket will be full again
        self._lock = threading.Lock()

    def take(self, public_key: str) -> None:
        """Count a request.

        Raises:
            Throttled: the key has none left; it counts nothing.
        """
        if self._requests_per_s is None:
            return
        interval_s = 1.0 / self._requests_per_s
        with self._lock:
            now = time.monotonic()
            full_at = max(now, self._full_at.get(public_key, now)) + interval_s
            wait_s = full_at - now - self._burst * interval_s
            if wait_s > 1e-9:  # the sums of intervals are not exact
                raise Throttled(retry_after_s=math.ceil(wait_s))
            self._full_at[public_key] = full_at
