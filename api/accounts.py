"""Accounts of keys: what a task reserves, and what becomes of it when the task ends.

Reserved and settled in the very transactions that store the task and that end it, so that no crash
can come between: a task holds its points exactly from its first to its last state.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    false,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from api.database import Database
from api.errors import QueueFull, TooFewCredits
from api.schema import accounts
from api.schema import tasks as t
from api.tasks import Account, NewTask, TaskStatus

UNSETTLED = and_(t.c.points_held == true(), t.c.finished_at.is_not(None))

_a = accounts.c


_COLUMNS = [accounts.c[field.name] for field in fields(Account)]


def account_of(connection: Connection, public_key: str) -> Account:
    """The key's account."""
    row = connection.execute(select(*_COLUMNS).where(_a.public_key == public_key)).one_or_none()
    return Account() if row is None else Account(**row._mapping)


class Ledger:
    """The accounts of a database, as the task store uses them.

    Args:
        database: where they lie.
        max_queued_per_key: so many tasks of a key wait at once, unless it has a limit of its own.
    """

    def __init__(self, database: Database, *, max_queued_per_key: int | None) -> None:
        self._database = database
        self._max_queued_per_key = max_queued_per_key

    def account(self, tenant: str) -> Account:
        """See `TaskStore.account`."""
        with self._database.read() as connection:
            return account_of(connection, tenant)

    def require_place(self, tenant: str) -> None:
        """See `TaskStore.require_place`."""
        with self._database.read() as connection:
            self._require_place(connection, tenant, num_new=1)

    def enter(self, connection: Connection, task: NewTask) -> None:
        """Set the points of a task aside that this transaction has stored.

        Raises:
            TooFewCredits: there are less, or they have expired.
            QueueFull: the key has too many tasks waiting now.
        """
        self._reserve(connection, task.tenant, task.points)
        self._require_place(connection, task.tenant, num_new=0)

    def _reserve(self, connection: Connection, public_key: str, points: int) -> None:
        """Take `points` if they are there.

        The condition is part of the update, so that any number of them at once never take more
        than there is; on PostgreSQL they also queue up here, one after the other for each key.
        """
        enough = _a.total_points - _a.used_points - _a.reserved_points >= points
        reservation = (
            update(accounts)
            .where(
                _a.public_key == public_key,
                or_(_a.total_points.is_(None), enough),
                or_(_a.expires_at.is_(None), _a.expires_at > self._database.now),
            )
            .values(reserved_points=_a.reserved_points + points)
        )
        if connection.execute(reservation).rowcount == 1:
            return
        first = self._database.insert(accounts).values(public_key=public_key)
        connection.execute(first.on_conflict_do_nothing())  # it may have had no account so far
        if connection.execute(reservation).rowcount == 1:
            return
        left = account_of(connection, public_key).left_points
        if left is None or left >= points:
            raise TooFewCredits("The credits of this key have expired")
        raise TooFewCredits(f"This task takes {points} credits, {left} are left")

    def _require_place(self, connection: Connection, public_key: str, *, num_new: int) -> None:
        """Refuse what would have the key exceed its limit; exact once points are reserved."""
        own = account_of(connection, public_key).max_queued
        limit = self._max_queued_per_key if own is None else own
        if limit is None:
            return
        waiting = select(t.c.seq).where(
            t.c.tenant == public_key, t.c.finished_at.is_(None), t.c.state == TaskStatus.QUEUED
        )
        counted = select(func.count()).select_from(waiting.limit(limit + 1).subquery())
        if connection.execute(counted).scalar_one() + num_new > limit:
            raise QueueFull(f"This key has {limit} tasks waiting, as many as it may")


def settle(connection: Connection, *which: ColumnElement[bool]) -> None:
    """Charge what ended as Finished and release what ended otherwise; each task once.

    Args:
        connection: of the transaction that ends the tasks.
        which: conditions on the tasks; none settles all that ended, also those that a worker of a
            version without accounts ended.
    """
    ended = (
        update(t)
        .where(UNSETTLED, *which)
        .values(points_held=false())
        .returning(t.c.tenant, t.c.points, t.c.state)
    )
    held: Counter[str] = Counter()
    charged: Counter[str] = Counter()
    for tenant, points, state in connection.execute(ended):
        held[tenant] += points
        charged[tenant] += points if state is TaskStatus.SUCCEEDED else 0
    for tenant in sorted(held):  # in one order everywhere: two of these cannot wait for each other
        connection.execute(
            update(accounts)
            .where(_a.public_key == tenant)
            .values(
                reserved_points=_a.reserved_points - held[tenant],
                used_points=_a.used_points + charged[tenant],
            )
        )


def open_account(connection: Connection, public_key: str, **limits: Any) -> None:
    """Store an account with these fields of `Account`."""
    connection.execute(insert(accounts).values(public_key=public_key, **limits))
