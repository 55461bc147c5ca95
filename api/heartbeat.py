"""What a worker tells the store with each heartbeat: that it lives, how far it is, how it looks."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from sqlalchemy import case, select, tuple_, update

from api.database import Database
from api.moves import held
from api.schema import tasks as t
from api.tasks import BeatAnswer, Lease, TaskStatus


def beat(
    database: Database,
    leases: Sequence[Lease],
    *,
    lease_s: float,
    progress: Mapping[str, tuple[float, str]],
    previews: Mapping[str, Mapping[int, bytes]] | None,
) -> BeatAnswer:
    """See `TaskStore.beat`."""
    if not leases:
        return BeatAnswer(lost=frozenset(), cancel_requested=frozenset())
    mine = [(lease.uid, lease.owner, lease.token) for lease in leases]
    until, last = database.now + lease_s, t.c.run_deadline + lease_s
    renewal = (
        update(t)
        .where(
            t.c.state == TaskStatus.RUNNING,
            tuple_(t.c.uid, t.c.owner, t.c.token).in_(mine),
        )
        .values(lease_until=case((last < until, last), else_=until))
        .returning(t.c.uid, t.c.cancel_requested)
    )
    if progress:
        done = {uid: value for uid, (value, _) in progress.items()}
        stages = {uid: stage for uid, (_, stage) in progress.items()}
        renewal = renewal.values(
            progress=case(done, value=t.c.uid, else_=t.c.progress),
            stage=case(stages, value=t.c.uid, else_=t.c.stage),
        )
    with database.write() as connection:
        renewed = {row.uid: row.cancel_requested for row in connection.execute(renewal)}
        for lease in leases:
            if previews and lease.uid in previews:
                shown = _as_json(previews[lease.uid])
                connection.execute(update(t).where(held(lease)).values(previews=shown))
    return BeatAnswer(
        lost=frozenset(lease.uid for lease in leases if lease.uid not in renewed),
        cancel_requested=frozenset(uid for uid, asked in renewed.items() if asked),
    )


def previews_of(database: Database, uid: str, *, tenant: str) -> dict[int, bytes]:
    """See `TaskStore.previews`."""
    query = select(t.c.previews).where(
        t.c.uid == uid, t.c.tenant == tenant, t.c.state == TaskStatus.RUNNING
    )
    with database.read() as connection:
        shown = connection.scalars(query).one_or_none() or {}
    return {int(index): base64.b64decode(text) for index, text in shown.items()}


def _as_json(previews: Mapping[int, bytes]) -> dict[str, str]:
    return {
        str(index): base64.b64encode(previews[index]).decode("ascii") for index in sorted(previews)
    }
