"""Which tasks a worker takes: some that may share a forward, in a fair order, of a loaded model.

A worker looks at the first `WINDOW` tasks of the queue, in the order of priority, virtual time and
age. It takes the first of them, or the first whose model it has loaded, and with it the next ones
of the same compat_key. Two bounds keep that fair: only heads of the highest waiting priority are
compared, and a task at the head that is older than `AGED_S` is taken whatever is loaded. So the
affinity delays no task by more than `AGED_S` and the one claim that is under way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    Row,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
)

from api.database import Database
from api.moves import move_from
from api.rows import RECORD_COLUMNS
from api.schema import tasks as t
from api.schema import tenants, workers
from api.tasks import Claimant, TaskRecord, TaskStatus

WINDOW = 256
AGED_S = 10.0
COLD_DELAY_S = 0.3  # a young task is left so long to an idle worker that has its model loaded
LIVE_S = 15.0  # a worker that was not heard of for so long is not counted on
_TRIES = 3

_QUEUED = t.c.state == TaskStatus.QUEUED


@dataclass(frozen=True, slots=True)
class _Choice:
    """A group to take from: its key, how many, and whether keys have limits to be observed."""

    compat_key: str
    limit: int
    full: Sequence[str]
    limited: bool


class Claims:
    """The statements of a claim, made once: to build them takes longer than to run them.

    Args:
        database: of the tasks.
        max_running_per_key: of keys without a limit of their own; None for no limit.
        run_limit_s: so long a start may take; None for ever.
    """

    def __init__(
        self, database: Database, *, max_running_per_key: int | None, run_limit_s: float | None
    ) -> None:
        self._database = database
        now = database.now
        limit_of_key = func.coalesce(tenants.c.max_running, literal(max_running_per_key, Integer))
        running = t.c.state == TaskStatus.RUNNING
        self._full = (
            select(t.c.tenant)
            .join(tenants, tenants.c.name == t.c.tenant)
            .where(running)
            .group_by(t.c.tenant, tenants.c.max_running)
            .having(func.count() >= limit_of_key)
        )
        limited = exists().where(limit_of_key.is_not(None)).select_from(tenants)
        due = and_(_QUEUED, or_(t.c.not_before.is_(None), t.c.not_before <= now))
        self._look = {
            has_full: _heads(_window(due, has_full=has_full), now=now, limited=limited)
            for has_full in (False, True)
        }
        self._pick = {
            has_full: _members(_window(due, has_full=has_full)) for has_full in (False, True)
        }
        self._lock_limits = (
            select(tenants.c.name, limit_of_key.label("max_running"))
            .where(tenants.c.name.in_(bindparam("names", expanding=True)))
            .order_by(tenants.c.name)
            .with_for_update()
        )
        self._count_running = (
            select(t.c.tenant, func.count())
            .where(running, t.c.tenant.in_(bindparam("names", expanding=True)))
            .group_by(t.c.tenant)
        )
        self._take = (
            move_from(TaskStatus.QUEUED, TaskStatus.RUNNING)
            .where(t.c.seq.in_(bindparam("taken", expanding=True)))
            .values(
                attempts=t.c.attempts + 1,
                token=t.c.token + 1,
                owner=bindparam("claimant"),
                lease_until=now + bindparam("lease_s"),
                run_deadline=None if run_limit_s is None else now + run_limit_s,
                started_at=func.coalesce(t.c.started_at, now),
                not_before=None,
                progress=0.0,
                stage="",
            )
            .returning(*RECORD_COLUMNS, t.c.seq)
        )
        self._idle = select(workers.c.loaded_models).where(
            workers.c.owner != bindparam("claimant"),
            workers.c.num_running == 0,
            ~workers.c.draining,
            workers.c.last_beat_at > now - LIVE_S,
        )

    def claim(self, claimant: Claimant, *, limit: int, lease_s: float) -> list[TaskRecord]:
        """See `TaskStore.claim`."""
        for _ in range(_TRIES):
            with self._database.read() as connection:  # an idle worker takes no write lock
                choice = self._choose(connection, claimant, limit)
            if choice is None:
                return []
            if taken := self._try_to_take(choice, claimant, lease_s):
                return taken
        return []

    def _try_to_take(self, choice: _Choice, claimant: Claimant, lease_s: float) -> list[TaskRecord]:
        """Empty where others were quicker."""
        with self._database.write() as connection:
            members = self._members(connection, choice)
            if choice.limited:
                members = self._within_limits(connection, members)
            taken = _takable(members, claimant)
            if not taken:
                return []
            parameters = {"taken": taken, "claimant": claimant.owner, "lease_s": lease_s}
            rows = connection.execute(self._take, parameters).all()
        return [_record(row) for row in sorted(rows, key=lambda row: taken.index(row.seq))]

    def _choose(self, connection: Connection, claimant: Claimant, limit: int) -> _Choice | None:
        full = connection.scalars(self._full).all()
        heads = connection.execute(self._look[bool(full)], {"full": full}).all()
        if not heads or not _fits(heads[0], claimant.num_running):
            return None  # the first must run alone: the busy drain, and one becomes free for it
        head = _preferred(heads, claimant)
        if head.model_key not in claimant.loaded and head.age_s < COLD_DELAY_S:
            parameters = {"claimant": claimant.owner}
            if any(head.model_key in each for each in connection.scalars(self._idle, parameters)):
                return None
        share = math.ceil(head.num_waiting / max(1, head.num_workers))
        return _Choice(head.compat_key, min(limit, share), full, head.limited)

    def _members(self, connection: Connection, choice: _Choice) -> Sequence[Row[Any]]:
        parameters = {
            "full": choice.full,
            "compat_key": choice.compat_key,
            "limit": choice.limit,
        }
        return connection.execute(self._pick[bool(choice.full)], parameters).all()

    def _within_limits(self, connection: Connection, members: Sequence[Row[Any]]) -> list[Row[Any]]:
        """Those that their keys may run now; no other claim decides that until this one is done."""
        names = {"names": sorted({member.tenant for member in members})}
        limits = {row.name: row.max_running for row in connection.execute(self._lock_limits, names)}
        counts = connection.execute(self._count_running, names).tuples()
        running: Counter[str] = Counter(dict(counts.all()))
        allowed = []
        for member in members:
            max_running = limits.get(member.tenant)
            if max_running is None or running[member.tenant] < max_running:
                running[member.tenant] += 1
                allowed.append(member)
        return allowed


def _window(due: Any, *, has_full: bool) -> Select[Any]:
    """The tasks a claim looks at.

    Where keys have reached their limit of running tasks, all their tasks would have to be passed
    over, thousands perhaps. So then it is the first task of each key that has not.
    """
    columns = ("seq", "compat_key", "model_key", "priority", "vtime", "created_at")
    query = select(*(t.c[name] for name in columns), t.c.solo, t.c.max_batch)
    if has_full:
        mine = and_(t.c.tenant == tenants.c.name, due)
        first = select(t.c.seq).where(mine).order_by(t.c.seq).limit(1).correlate(tenants)
        full = tenants.c.name.in_(bindparam("full", expanding=True))
        query = query.where(t.c.seq.in_(select(first.scalar_subquery()).where(~full)))
    else:
        query = query.where(due)
    return query.order_by(*_in_order(t.c)).limit(WINDOW)


def _heads(window: Select[Any], *, now: Any, limited: Any) -> Select[Any]:
    """The first task of each compat_key, in order, and what a claim must know beside them."""
    w = window.subquery("w")
    place = func.row_number().over(partition_by=w.c.compat_key, order_by=_in_order(w.c))
    ranked = select(w, place.label("place"), func.count().over().label("num_waiting")).subquery(
        "ranked"
    )
    live = (
        select(func.count())
        .where(~workers.c.draining, workers.c.last_beat_at > now - LIVE_S)
        .scalar_subquery()
    )
    return (
        select(
            ranked,
            (now - ranked.c.created_at).label("age_s"),
            live.label("num_workers"),
            limited.label("limited"),
        )
        .where(ranked.c.place == 1)
        .order_by(*_in_order(ranked.c))
    )


def _members(window: Select[Any]) -> Select[Any]:
    """The first tasks of a group, locked; those that another claim holds are passed over."""
    w = window.subquery("w")
    seqs = select(w.c.seq).where(w.c.compat_key == bindparam("compat_key"))
    return (
        select(t.c.seq, t.c.tenant, t.c.solo, t.c.max_batch, t.c.num_images)
        .where(t.c.seq.in_(seqs), _QUEUED)
        .order_by(*_in_order(t.c))
        .limit(bindparam("limit", type_=t.c.num_images.type))
        .with_for_update(skip_locked=True)
    )


def _in_order(columns: Any) -> list[Any]:
    return [columns.priority.desc(), columns.vtime, columns.seq]


def _preferred(heads: Sequence[Row[Any]], claimant: Claimant) -> Row[Any]:
    """The head to begin with: one of a loaded model, unless the first is aged."""
    first = heads[0]
    if first.age_s >= AGED_S:
        return first
    for head in heads:
        if head.priority != first.priority:
            break
        if head.model_key in claimant.loaded and _fits(head, claimant.num_running):
            return head
    return first


def _fits(task: Row[Any], num_running: int) -> bool:
    """Whether the task may run beside so many others."""
    return num_running < _bound(task)


def _bound(task: Row[Any]) -> float:
    """How many tasks may share the device with this one, itself included."""
    if task.solo:
        return 1
    return math.inf if task.max_batch is None else task.max_batch


def _takable(members: Sequence[Row[Any]], claimant: Claimant) -> list[int]:
    """Sequence numbers of the first that may all run together, in order."""
    taken: list[int] = []
    num_images, bound = 0, math.inf
    for member in members:
        bound = min(bound, _bound(member))
        num_images += member.num_images
        too_many = taken and num_images > claimant.max_images
        if too_many or claimant.num_running + len(taken) >= bound:
            break
        taken.append(member.seq)
    return taken


def _record(row: Row[Any]) -> TaskRecord:
    fields = dict(row._mapping)
    del fields["seq"]
    return TaskRecord(**fields)
