"""Accounts of keys: what a task reserves, and what becomes of it when the task ends.

Reserved and settled in the very transactions that store the task and that end it, so that no crash
can come between: a task holds its points exactly from its first to its last state.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    and_,
    bindparam,
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
_COLUMNS = [_a[field.name] for field in fields(Account)]
# Made once, like those of the store: to build a statement takes longer than to run it.
_ACCOUNT = select(*_COLUMNS).where(_a.public_key == bindparam("key"))
_SETTLED = (
    update(t)
    .where(UNSETTLED)
    .values(points_held=false())
    .returning(t.c.tenant, t.c.points, t.c.state)
)
_SETTLED_ONE = _SETTLED.where(t.c.uid == bindparam("task"))
_BOOKED = (
    update(accounts)
    .where(_a.public_key == bindparam("key"))
    .values(
        reserved_points=_a.reserved_points - bindparam("held", type_=BigInteger),
        used_points=_a.used_points + bindparam("charged", type_=BigInteger),
    )
)


def account_of(connection: Connection, public_key: str) -> Account:
    """The key's account."""
    row = connection.execute(_ACCOUNT, {"key": public_key}).one_or_none()
    return Account() if row is None else Account(*row)


def all_accounts(connection: Connection) -> defaultdict[str, Account]:
    """The account of every key."""
    rows = connection.execute(select(_a.public_key, *_COLUMNS))
    return defaultdict(Account, {public_key: Account(*values) for public_key, *values in rows})


class Ledger:
    """The accounts of a database, as the task store uses them.

    Args:
        database: where they lie.
        max_queued_per_key: so many tasks of a key wait at once, unless it has a limit of its own.
    """

    def __init__(self, database: Database, *, max_queued_per_key: int | None) -> None:
        self._database = database
        self._max_queued_per_key = max_queued_per_key
        cost = bindparam("cost", type_=BigInteger)
        # The condition is part of the update, so that any number of them at once never take more
        # than there is; on PostgreSQL they also queue up here, one after the other for each key.
        self._reserve = (
            update(accounts)
            .where(
                _a.public_key == bindparam("key"),
                or_(
                    _a.total_points.is_(None),
                    _a.total_points - _a.used_points - _a.reserved_points >= cost,
                ),
                or_(_a.expires_at.is_(None), _a.expires_at > database.now),
            )
            .values(reserved_points=_a.reserved_points + cost)
            .returning(_a.max_queued)
        )
        new = database.insert(accounts).values(public_key=bindparam("key"))
        self._open = new.on_conflict_do_nothing()

    def account(self, tenant: str) -> Account:
        """See `TaskStore.account`."""
        with self._database.read() as connection:
            return account_of(connection, tenant)

    def require_place(self, tenant: str) -> None:
        """See `TaskStore.require_place`."""
        with self._database.read() as connection:
            own_limit = account_of(connection, tenant).max_queued
            self._require_place(connection, tenant, own_limit, num_new=1)

    def enter(self, connection: Connection, task: NewTask) -> None:
        """Set the points of a task aside that this transaction has stored.

        Raises:
            TooFewCredits: there are less, or they have expired.
            QueueFull: the key has too many tasks waiting now.
        """
        values = {"key": task.tenant, "cost": task.points}
        row = connection.execute(self._reserve, values).one_or_none()
        if row is None:  # it may have had no account so far
            connection.execute(self._open, {"key": task.tenant})
            row = connection.execute(self._reserve, values).one_or_none()
        if row is None:
            raise _too_few(account_of(connection, task.tenant), task.points)
        self._require_place(connection, task.tenant, row.max_queued, num_new=0)

    def _require_place(
        self, connection: Connection, public_key: str, own_limit: int | None, *, num_new: int
    ) -> None:
        """Refuse what would have the key exceed its limit; exact once points are reserved."""
        limit = self._max_queued_per_key if own_limit is None else own_limit
        if limit is None:
            return
        waiting = select(t.c.seq).where(
            t.c.tenant == public_key, t.c.finished_at.is_(None), t.c.state == TaskStatus.QUEUED
        )
        counted = select(func.count()).select_from(waiting.limit(limit + 1).subquery())
        if connection.execute(counted).scalar_one() + num_new > limit:
            raise QueueFull(f"This key has {limit} tasks waiting, as many as it may")


def settle(connection: Connection, uid: str | None = None) -> None:
    """Charge what ended as Finished and release what ended otherwise; each task once.

    Args:
        connection: of the transaction that ends the task.
        uid: of the task; None settles all that ended, also those that a worker of a version
            without accounts ended.
    """
    query, values = (_SETTLED, {}) if uid is None else (_SETTLED_ONE, {"task": uid})
    held: Counter[str] = Counter()
    charged: Counter[str] = Counter()
    for tenant, points, state in connection.execute(query, values):
        held[tenant] += points
        charged[tenant] += points if state is TaskStatus.SUCCEEDED else 0
    for tenant in sorted(held):  # in one order everywhere: two of these cannot wait for each other
        booking = {"key": tenant, "held": held[tenant], "charged": charged[tenant]}
        connection.execute(_BOOKED, booking)


def _too_few(account: Account, points: int) -> TooFewCredits:
    left = account.left_points
    if left is None or left >= points:
        return TooFewCredits("The credits of this key have expired")
    return TooFewCredits(f"This task takes {points} credits, {left} are left")


def open_account(connection: Connection, public_key: str, **limits: Any) -> None:
    """Store an account with these fields of `Account`."""
    connection.execute(insert(accounts).values(public_key=public_key, **limits))
