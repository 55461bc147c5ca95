"""Which tasks a worker takes: some that may share a forward, in a fair order, of a loaded model.

The queue is in the order of priority, virtual time (see `api.fair_queue`) and age. A worker takes
its first task, or, where the model of that one is not loaded, the first of the next `WINDOW` whose
model is. The next tasks of the same compat_key ride along, as many as there is room for.

Two bounds keep that fair: tasks of a higher priority are never passed over for a loaded model, nor
is a first task older than `AGED_S`. So affinity delays no task by more than `AGED_S` and the claim
that is under way then.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Row,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    exists,
    func,
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

_CANDIDATES = 8
_IS_FIRST = t.c.seq.in_(bindparam("firsts", expanding=True))
_QUEUED = t.c.state == TaskStatus.QUEUED
_RUNNING = t.c.state == TaskStatus.RUNNING


@dataclass(frozen=True, slots=True)
class _Choice:
    """A group to take from, how many, of which only (empty for any), and whether keys have limits."""

    compat_key: str
    limit: int
    firsts: Sequence[int]
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
        limit_of_key: ColumnElement[int | None] = tenants.c.max_running
        if max_running_per_key is not None:
            limit_of_key = func.coalesce(limit_of_key, max_running_per_key)
        self._full = (
            select(t.c.tenant)
            .join(tenants, tenants.c.name == t.c.tenant)
            .where(_RUNNING)
            .group_by(t.c.tenant, tenants.c.max_running)
            .having(func.count() >= limit_of_key)
        )
        limited = exists().where(limit_of_key.is_not(None)).select_from(tenants)
        due = and_(_QUEUED, or_(t.c.not_before.is_(None), t.c.not_before <= now))
        queues = {past_full: _queue(due, past_full=past_full) for past_full in (False, True)}
        age_s = (now - t.c.created_at).label("age_s")
        self._firsts = _firsts(due)
        self._heads = {
            past_full: queue.add_columns(
                age_s, _num_workers(now).label("num_workers"), limited.label("limited")
            ).limit(1)
            for past_full, queue in queues.items()
        }
        self._of_loaded = {past_full: _of_loaded(queue) for past_full, queue in queues.items()}
        self._waiting = select(func.count()).select_from(
            select(t.c.seq).where(due).limit(_number("at_most")).subquery()
        )
        self._members = {
            past_full: _members(due, past_full=past_full) for past_full in (False, True)
        }
        self._lock_limits = (
            select(tenants.c.name, limit_of_key.label("max_running"))
            .where(tenants.c.name.in_(bindparam("names", expanding=True)))
            .order_by(tenants.c.name)
            .with_for_update()
        )
        self._count_running = (
            select(t.c.tenant, func.count().label("num_running"))
            .where(_RUNNING, t.c.tenant.in_(bindparam("names", expanding=True)))
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
                previews=None,
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

    def _choose(self, connection: Connection, claimant: Claimant, limit: int) -> _Choice | None:
        full = connection.scalars(self._full).all()
        firsts = connection.scalars(self._firsts, {"full": full}).all() if full else ()
        first = connection.execute(self._heads[bool(full)], {"firsts": firsts}).one_or_none()
        if first is None or not _fits(first, claimant.num_running):
            return None  # it must run alone: the busy drain, and one of them becomes free for it
        head = first
        if first.model_key not in claimant.loaded and first.age_s < AGED_S:
            head = self._first_of_loaded(connection, claimant, first, firsts) or first
            if head is first and first.age_s < COLD_DELAY_S:
                parameters = {"claimant": claimant.owner}
                warm = connection.scalars(self._idle, parameters)
                if any(first.model_key in loaded for loaded in warm):
                    return None
        if limit > 1 and first.num_workers > 1:
            at_most = limit * first.num_workers
            waiting = connection.execute(self._waiting, {"at_most": at_most}).scalar_one()
            limit = math.ceil(waiting / first.num_workers)
        return _Choice(head.compat_key, limit, firsts, first.limited)

    def _first_of_loaded(
        self, connection: Connection, claimant: Claimant, first: Row[Any], firsts: Sequence[int]
    ) -> Row[Any] | None:
        """The first task of the window whose model is loaded, of the same priority as `first`."""
        if not claimant.loaded:
            return None
        parameters = {"loaded": list(claimant.loaded), "priority": first.priority, "firsts": firsts}
        candidates = connection.execute(self._of_loaded[bool(firsts)], parameters)
        return next((each for each in candidates if _fits(each, claimant.num_running)), None)

    def _try_to_take(self, choice: _Choice, claimant: Claimant, lease_s: float) -> list[TaskRecord]:
        """Empty where others were quicker."""
        of_group = {"compat_key": choice.compat_key, "limit": choice.limit, "firsts": choice.firsts}
        with self._database.write() as connection:
            query = self._members[bool(choice.firsts)]
            members = connection.execute(query, of_group).all()
            if choice.limited:
                members = self._within_limits(connection, members)
            taken = _takable(members, claimant)
            if not taken:
                return []
            parameters = {"taken": taken, "claimant": claimant.owner, "lease_s": lease_s}
            rows = connection.execute(self._take, parameters).all()
        return [_record(row) for row in sorted(rows, key=lambda row: taken.index(row.seq))]

    def _within_limits(self, connection: Connection, members: Sequence[Row[Any]]) -> list[Row[Any]]:
        """Those that their keys may run now; no other claim decides that until this one is done."""
        names = {"names": sorted({member.tenant for member in members})}
        limits = {row.name: row.max_running for row in connection.execute(self._lock_limits, names)}
        running: Counter[str] = Counter()
        for row in connection.execute(self._count_running, names):
            running[row.tenant] = row.num_running
        allowed = []
        for member in members:
            max_running = limits.get(member.tenant)
            if max_running is None or running[member.tenant] < max_running:
                running[member.tenant] += 1
                allowed.append(member)
        return allowed


def _queue(due: ColumnElement[bool], *, past_full: bool) -> Select[Any]:
    """The tasks that may be taken, in order; `past_full`: only those of the parameter `firsts`."""
    names = ("seq", "compat_key", "model_key", "priority", "vtime", "solo", "max_batch")
    query = select(*(t.c[name] for name in names)).where(due)
    if past_full:
        return query.where(_IS_FIRST).order_by(*_by_no_index(t.c))
    return query.order_by(*_in_order(t.c))


def _firsts(due: ColumnElement[bool]) -> Select[Any]:
    """The first task of each key that is not at its limit of running tasks.

    Where some are, all their tasks would have to be passed over, thousands perhaps: so then these
    are the queue. The index of a key's unfinished tasks leads to them.
    """
    # Not "=": then PostgreSQL would see that the order is by seq alone, and may read in that.
    is_mine = t.c.tenant.between(tenants.c.name, tenants.c.name)
    mine = and_(is_mine, t.c.finished_at.is_(None), due)
    first = select(t.c.seq).where(mine).order_by(t.c.tenant, t.c.seq).limit(1).correlate(tenants)
    full = tenants.c.name.in_(bindparam("full", expanding=True))
    return select(first.scalar_subquery()).where(~full)


def _of_loaded(queue: Select[Any]) -> Select[Any]:
    window = queue.limit(WINDOW).subquery("w")
    is_loaded = window.c.model_key.in_(bindparam("loaded", expanding=True))
    return (
        select(window)
        .where(is_loaded, window.c.priority == bindparam("priority"))
        .order_by(*_in_order(window.c))
        .limit(_CANDIDATES)
    )


def _members(due: ColumnElement[bool], *, past_full: bool) -> Select[Any]:
    """The first tasks of a group, locked; those that another claim holds are passed over."""
    query = select(t.c.seq, t.c.tenant, t.c.solo, t.c.max_batch, t.c.num_images)
    query = query.where(due, t.c.compat_key == bindparam("compat_key"))
    if past_full:
        query = query.where(_IS_FIRST).order_by(*_by_no_index(t.c))
    else:
        query = query.order_by(*_in_order(t.c))
    return query.limit(_number("limit")).with_for_update(skip_locked=True)


def _num_workers(now: ColumnElement[float]) -> ScalarSelect[int]:
    """Those that take tasks."""
    is_live = and_(~workers.c.draining, workers.c.last_beat_at > now - LIVE_S)
    return select(func.count()).where(is_live).select_from(workers).scalar_subquery()


def _number(name: str) -> BindParameter[int]:
    return bindparam(name, type_=Integer)


def _in_order(columns: Any) -> list[Any]:
    return [columns.priority.desc(), columns.vtime, columns.seq]


def _by_no_index(columns: Any) -> list[Any]:
    """The same order for a few tasks that are known: no index shall be read through for it."""
    return [-columns.priority, columns.vtime, columns.seq]


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
