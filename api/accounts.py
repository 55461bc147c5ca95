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
    insert,
    or_,
    select,
    true,
    update,
)

from api.database import Database
from api.errors import TooFewCredits
from api.schema import accounts
from api.schema import tasks as t
from api.tasks import Account, TaskStatus

UNSETTLED = and_(t.c.points_held == true(), t.c.finished_at.is_not(None))

_a = accounts.c


_COLUMNS = [accounts.c[field.name] for field in fields(Account)]


def account_of(connection: Connection, public_key: str) -> Account:
    """The key's account."""
    row = connection.execute(select(*_COLUMNS).where(_a.public_key == public_key)).one_or_none()
    return Account() if row is None else Account(**row._mapping)


def reserve(database: Database, connection: Connection, public_key: str, points: int) -> None:
    """Set `points` aside for a task that this transaction stores.

    The condition is part of the update, so that any number of them at once never take more than
    there is; on PostgreSQL they also queue up here, one after the other for each key.

    Raises:
        TooFewCredits: there are less, or they have expired.
    """
    enough = _a.total_points - _a.used_points - _a.reserved_points >= points
    reservation = (
        update(accounts)
        .where(
            _a.public_key == public_key,
            or_(_a.total_points.is_(None), enough),
            or_(_a.expires_at.is_(None), _a.expires_at > database.now),
        )
        .values(reserved_points=_a.reserved_points + points)
    )
    if connection.execute(reservation).rowcount == 1:
        return
    first = database.insert(accounts).values(public_key=public_key).on_conflict_do_nothing()
    connection.execute(first)  # it may have had no account so far
    if connection.execute(reservation).rowcount == 1:
        return
    left = account_of(connection, public_key).left_points
    if left is None or left >= points:
        raise TooFewCredits("The credits of this key have expired")
    raise TooFewCredits(f"This task takes {points} credits, {left} are left")


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
