"""How often a key may call: a token bucket for each, in the database."""

from __future__ import annotations

import math
import time

from sqlalchemy import BindParameter, bindparam, case, select

from api.database import Database
from api.errors import Throttled
from api.schema import key_rates

_SLACK_S = 1e-4  # clocks of databases, and sums of intervals, are no more exact


class RateLimit:
    """Token buckets that all API processes on a database share. Safe from any thread.

    A request that passes is a small write, of which nobody waits that it reaches the disk; one that
    does not costs the database nothing until its key may call again. Only keys whose signature was
    proven have a bucket, so that nobody can empty another's, nor fill the table with made-up ones.

    Args:
        database: of the task store; its clock counts.
        requests_per_s: a key's lasting rate; None for no limit, which asks the database nothing.
        burst: requests that a rested key may make at once.
    """

    def __init__(self, database: Database, requests_per_s: float | None, *, burst: int) -> None:
        self._database = database
        self._is_limited = requests_per_s is not None
        self._empty_until: dict[str, float] = {}  # of this process's clock, as far as it knows
        interval_s = 0.0 if requests_per_s is None else 1.0 / requests_per_s
        longest_s = burst * interval_s
        now, full_at = database.now, key_rates.c.full_at
        # A bucket that takes longer to fill is of other settings, or of a clock that was set back.
        held = case(
            (full_at > now + longest_s, now + longest_s), (full_at < now, now), else_=full_at
        )
        key: BindParameter[str] = bindparam("key")
        bucket = database.insert(key_rates).values(public_key=key, full_at=now + interval_s)
        self._draw = bucket.on_conflict_do_update(
            index_elements=[key_rates.c.public_key],
            set_={"full_at": held + interval_s},
            where=held + interval_s <= now + longest_s + _SLACK_S,
        ).returning(full_at)
        self._wait_s = select(held + interval_s - now - longest_s).where(
            key_rates.c.public_key == key
        )

    def take(self, public_key: str) -> None:
        """Count a request. Blocking: writes to the database.

        Raises:
            Throttled: the key has none left; it counts nothing.
            StoreUnavailable: the database cannot say.
        """
        if not self._is_limited:
            return
        wait_s = self._empty_until.get(public_key, 0.0) - time.monotonic()
        if wait_s <= 0:
            wait_s = self._ask(public_key)
            if wait_s <= 0:
                return
            self._empty_until[public_key] = time.monotonic() + wait_s
        raise Throttled(retry_after_s=max(1, math.ceil(wait_s - _SLACK_S)))

    def _ask(self, public_key: str) -> float:
        """Draw from the bucket: 0, or the seconds until there is something in it."""
        with self._database.write_unsynced() as connection:
            if connection.execute(self._draw, {"key": public_key}).first() is not None:
                return 0.0
            wait_s: float = connection.execute(self._wait_s, {"key": public_key}).scalar_one()
            return max(wait_s, _SLACK_S)
