"""Start-time fair queueing: each key's tasks wait behind each other, not behind those of all keys.

A task gets its place when it is put: at the virtual time at which its key's last task ends, but not
before the one that the queue has reached. In virtual time a task takes its cost divided by the
key's weight, so keys that always wait are served in proportion to their weights, and whoever comes
new stands near the head however many tasks of others wait. (Goyal et al., SIGCOMM 1996.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Float,
    SmallInteger,
    bindparam,
    func,
    literal,
    literal_column,
    select,
    update,
)

from api.database import Database
from api.schema import tasks as t
from api.schema import tenants
from api.tasks import TaskStatus


@dataclass(frozen=True, slots=True)
class Share:
    """What a key gets of the workers.

    Attributes:
        weight: share of the work beside other keys that wait; above 0.
        priority: its tasks go before all of lower numbers.
        max_running: so many of its tasks may run at once; None for the service's own limit.
    """

    weight: float = 1.0
    priority: int = 0
    max_running: int | None = None


class FairQueue:
    """Gives new tasks their place, and keys their share."""

    def __init__(self, database: Database) -> None:
        self._database = database
        cost: BindParameter[float] = bindparam("cost", type_=Float)
        new = database.insert(tenants).values(
            name=bindparam("tenant"), vtime=_reached(literal(0)) + cost
        )
        # Of the row that is there: as a column of the table it would be joined in once more.
        priority = literal_column("tenants.priority", SmallInteger)
        start = database.greatest(tenants.c.vtime, _reached(priority))
        self._enter = new.on_conflict_do_update(
            index_elements=[tenants.c.name], set_={"vtime": start + cost / tenants.c.weight}
        ).returning(tenants.c.vtime, tenants.c.weight, tenants.c.priority)

    def enter(self, connection: Connection, tenant: str, cost: float) -> dict[str, Any]:
        """The columns `vtime` and `priority` of a task that this transaction stores."""
        row = connection.execute(self._enter, {"tenant": tenant, "cost": cost}).one()
        return {"vtime": row.vtime - cost / row.weight, "priority": row.priority}

    def set_share(self, tenant: str, share: Share) -> None:
        """From the next task on; a limit of running tasks holds at once.

        Raises:
            ValueError: a weight that is not above 0, or a limit below 1.
        """
        if not share.weight > 0:
            raise ValueError(f"weight {share.weight}: not above 0")
        if share.max_running is not None and share.max_running < 1:
            raise ValueError(f"max_running {share.max_running}: less than 1")
        values = {
            "weight": share.weight,
            "priority": share.priority,
            "max_running": share.max_running,
        }
        new = self._database.insert(tenants).values(name=tenant, **values)
        with self._database.write() as connection:
            # Each priority has a virtual time of its own.
            connection.execute(
                update(tenants)
                .where(tenants.c.name == tenant, tenants.c.priority != share.priority)
                .values(vtime=0.0)
            )
            connection.execute(
                new.on_conflict_do_update(index_elements=[tenants.c.name], set_=values)
            )

    def share(self, tenant: str) -> Share:
        """What the key gets."""
        query = select(tenants.c.weight, tenants.c.priority, tenants.c.max_running)
        with self._database.read() as connection:
            row = connection.execute(query.where(tenants.c.name == tenant)).one_or_none()
        return Share() if row is None else Share(**row._mapping)


def _reached(priority: ColumnElement[int]) -> ColumnElement[float]:
    """The virtual time of the first task that waits; where none does, of the last that was put."""
    first = (
        select(t.c.vtime)
        .where(t.c.state == TaskStatus.QUEUED, t.c.priority == priority)
        .order_by(t.c.vtime)
        .limit(1)
        .scalar_subquery()
    )
    others = tenants.alias("others")
    last = select(func.max(others.c.vtime)).where(others.c.priority == priority).scalar_subquery()
    return func.coalesce(first, last, 0.0)
