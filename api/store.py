"""The task store on SQLAlchemy Core: every state change is one short, fenced transaction."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    URL,
    Connection,
    Update,
    and_,
    exc,
    func,
    insert,
    make_url,
    select,
    update,
)

from api.accounts import Ledger, settle
from api.claims import Claims
from api.database import Database, insert_if_absent, open_database
from api.doorbell import Doorbell
from api.errors import IllegalMove, TaskStoreError
from api.fair_queue import FairQueue
from api.heartbeat import beat, previews_of
from api.keeping import purge, sweep
from api.moves import (
    CANCELED,
    NO_OWNER,
    SOLO_AGAIN,
    WORKER_LOST,
    held,
    lease_lost,
    move_from,
)
from api.rows import (
    RECORD,
    RECORDS_OF_TENANT,
    insert_outputs,
    new_row,
    read_records,
    uid_and_digest,
)
from api.schema import tasks as t
from api.settings import Settings
from api.tasks import (
    Account,
    Backlog,
    BeatAnswer,
    Claimant,
    IdempotencyKey,
    Lease,
    News,
    NewTask,
    PurgedTask,
    TaskOutput,
    TaskRecord,
    TaskStatus,
    WorkerRecord,
    WorkerState,
)
from api.workers import Workers

if TYPE_CHECKING:
    from api.notify import Notifier

_UIDS_PER_QUERY = 500  # databases bound the parameters of one statement


class SqlTaskStore:
    """`api.tasks.TaskStore` over a database; see there for the methods.

    Args:
        database: an open one, or the URL of one to open.
        images_keep_s: images of an ended task are kept so long.
        records_keep_s: the record of an ended task is kept so long.
        max_attempts: a task is started at most so often.
        queue_keep_s: a task that was not started within this time expires; None for never.
        run_limit_s: a start may take so long; None for ever.
        max_running_per_key: of keys that have no limit of their own; None for no limit.
        max_queued_per_key: likewise.
        doorbell: tells the workers what is new; None for none.

    Every method raises `StoreUnavailable` where the database does not answer in time.
    """

    def __init__(
        self,
        database: Database | str,
        *,
        images_keep_s: float = 24 * 3600.0,
        records_keep_s: float = 7 * 24 * 3600.0,
        max_attempts: int = 3,
        queue_keep_s: float | None = None,
        run_limit_s: float | None = None,
        max_running_per_key: int | None = None,
        max_queued_per_key: int | None = None,
        doorbell: Doorbell | Notifier | None = None,
    ) -> None:
        self.database = open_database(database) if isinstance(database, str) else database
        self._images_keep_s = images_keep_s
        self._records_keep_s = records_keep_s
        self._max_attempts = max_attempts
        self._queue_keep_s = queue_keep_s
        self._doorbell = doorbell
        self.fair_queue = FairQueue(self.database)
        self._ledger = Ledger(self.database, max_queued_per_key=max_queued_per_key)
        self._workers = Workers(self.database)
        self._claims = Claims(
            self.database, max_running_per_key=max_running_per_key, run_limit_s=run_limit_s
        )

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def secret(self) -> bytes:
        """32 random bytes made once per store and shared by all replicas: signs result URLs."""
        with self.database.write() as connection:
            return bytes.fromhex(insert_if_absent(connection, "secret", secrets.token_hex(32)))

    def put(self, task: NewTask, *, idempotency_key: IdempotencyKey | None = None) -> None:
        """See `TaskStore.put`."""
        now = self.database.now
        row = insert(t).values(
            **new_row(task, idempotency_key),
            state=TaskStatus.QUEUED,
            max_attempts=self._max_attempts,
            queue_deadline=None if self._queue_keep_s is None else now + self._queue_keep_s,
            created_at=now,
        )
        try:
            with self.database.write() as connection:
                place = self.fair_queue.enter(connection, task.tenant, task.est_cost)
                connection.execute(row.values(**place))
                self._ledger.enter(connection, task)
        except exc.IntegrityError as cause:
            raise IllegalMove(f"task {task.uid} is stored already") from cause
        self._ring(News.QUEUED)

    def require_place(self, *, tenant: str) -> None:
        """See `TaskStore.require_place`."""
        self._ledger.require_place(tenant)

    def find_idempotent(self, text: str, *, tenant: str) -> tuple[str, str] | None:
        """See `TaskStore.find_idempotent`."""
        with self.database.read() as connection:
            return uid_and_digest(connection, text, tenant=tenant)

    def get_many(self, uids: Sequence[str], *, tenant: str) -> list[TaskRecord | None]:
        """See `TaskStore.get_many`."""
        found: dict[str, TaskRecord] = {}
        known = [uid for uid in uids if "\0" not in uid]  # PostgreSQL has no such text
        with self.database.read() as connection:
            for start in range(0, len(known), _UIDS_PER_QUERY):
                some = known[start : start + _UIDS_PER_QUERY]
                found |= read_records(
                    connection, RECORDS_OF_TENANT, {"uids": some, "tenant": tenant}
                )
        return [found.get(uid) for uid in uids]

    def get(self, uid: str) -> TaskRecord | None:
        """See `TaskStore.get`."""
        with self.database.read() as connection:
            return read_records(connection, RECORD, {"uid": uid}).get(uid)

    def unfinished(self, *, tenant: str) -> list[str]:
        """See `TaskStore.unfinished`."""
        query = (
            select(t.c.uid).where(t.c.finished_at.is_(None), t.c.tenant == tenant).order_by(t.c.seq)
        )
        with self.database.read() as connection:
            return list(connection.scalars(query))

    def account(self, *, tenant: str) -> Account:
        """See `TaskStore.account`."""
        return self._ledger.account(tenant)

    def depth(self) -> int:
        """See `TaskStore.depth`."""
        query = select(func.count()).where(t.c.state == TaskStatus.QUEUED)
        with self.database.read() as connection:
            return connection.execute(query).scalar_one()

    def backlog(self) -> Backlog:
        """See `TaskStore.backlog`."""
        return self._workers.backlog()

    def claim(self, claimant: Claimant, *, limit: int, lease_s: float) -> list[TaskRecord]:
        """See `TaskStore.claim`."""
        return self._claims.claim(claimant, limit=limit, lease_s=lease_s)

    def beat(
        self,
        leases: Sequence[Lease],
        *,
        lease_s: float,
        progress: Mapping[str, tuple[float, str]],
        previews: Mapping[str, Mapping[int, bytes]] | None = None,
    ) -> BeatAnswer:
        """See `TaskStore.beat`."""
        return beat(self.database, leases, lease_s=lease_s, progress=progress, previews=previews)

    def previews(self, uid: str, *, tenant: str) -> dict[int, bytes]:
        """See `TaskStore.previews`."""
        return previews_of(self.database, uid, tenant=tenant)

    def finish(self, lease: Lease, outputs: Sequence[TaskOutput]) -> None:
        """See `TaskStore.finish`. Raises `IllegalMove` unless every image of the task is there."""
        move = move_from(TaskStatus.RUNNING, TaskStatus.SUCCEEDED).values(progress=1.0)
        with self.database.write() as connection:
            num_images = connection.execute(
                move.where(held(lease)).values(**self._ended()).returning(t.c.num_images)
            ).scalar_one_or_none()
            if num_images is None:
                raise lease_lost(lease)
            if sorted(output.image_index for output in outputs) != list(range(num_images)):
                raise IllegalMove(f"task {lease.uid} has not all of its {num_images} images")
            insert_outputs(connection, lease.uid, outputs)
            settle(connection, lease.uid)

    def fail(
        self,
        lease: Lease,
        *,
        error_code: int,
        error_text: str,
        outputs: Sequence[TaskOutput] = (),
    ) -> None:
        """See `TaskStore.fail`."""
        move = move_from(TaskStatus.RUNNING, TaskStatus.FAILED)
        with self.database.write() as connection:
            error = {"error_code": error_code, "error_text": error_text}
            self._end(connection, lease, move.values(**error))
            insert_outputs(connection, lease.uid, outputs)

    def release(
        self, lease: Lease, *, crashed: bool, delay_s: float = 0.0, max_batch: int | None = None
    ) -> TaskStatus:
        """See `TaskStore.release`.

        Only a crash uses a start up. A task given back in good order (its worker is being stopped,
        or has no room for the result) gets its start back and so never fails from restarts, while
        whatever ends its worker in disorder is still started at most `max_attempts` times.
        """
        query = select(t.c.attempts, t.c.max_attempts, t.c.cancel_requested)
        with self.database.write() as connection:
            row = connection.execute(query.where(held(lease)).with_for_update()).one_or_none()
            if row is None:
                raise lease_lost(lease)
            if row.cancel_requested:
                move = move_from(TaskStatus.RUNNING, TaskStatus.CANCELED)
                move = move.values(**CANCELED, **self._ended())
                status = TaskStatus.CANCELED
            elif crashed and row.attempts >= row.max_attempts:
                move = move_from(TaskStatus.RUNNING, TaskStatus.FAILED)
                move = move.values(**WORKER_LOST, **self._ended())
                status = TaskStatus.FAILED
            else:
                move = move_from(TaskStatus.RUNNING, TaskStatus.QUEUED)
                move = move.values(not_before=self.database.now + delay_s)
                again = SOLO_AGAIN if crashed else {**NO_OWNER, "attempts": t.c.attempts - 1}
                move = move.values(**again)
                if max_batch is not None:
                    move = move.values(max_batch=max_batch)
                status = TaskStatus.QUEUED
            connection.execute(move.where(held(lease)))
            if status.is_final:
                settle(connection, lease.uid)
            return status

    def end_canceled(self, lease: Lease) -> None:
        """See `TaskStore.end_canceled`."""
        move = move_from(TaskStatus.RUNNING, TaskStatus.CANCELED).values(**CANCELED)
        with self.database.write() as connection:
            self._end(connection, lease, move)

    def cancel(self, uid: str, *, tenant: str) -> TaskStatus | None:
        """See `TaskStore.cancel`. An ended task stays as it is."""
        mine = and_(t.c.uid == uid, t.c.tenant == tenant)
        with self.database.write() as connection:
            query = select(t.c.state).where(mine).with_for_update()
            status = connection.execute(query).scalar_one_or_none()
            if status is TaskStatus.QUEUED:
                move = move_from(TaskStatus.QUEUED, TaskStatus.CANCELED)
                connection.execute(move.where(mine).values(**CANCELED, **self._ended()))
                settle(connection, uid)
                return TaskStatus.CANCELED
            if status is TaskStatus.RUNNING:
                connection.execute(update(t).where(mine).values(cancel_requested=True))
        if status is TaskStatus.RUNNING:
            self._ring(News.CANCEL)
        return status

    def check_in(self, worker: WorkerState) -> None:
        """See `TaskStore.check_in`."""
        self._workers.check_in(worker)

    def check_out(self, owner: str) -> None:
        """See `TaskStore.check_out`."""
        self._workers.check_out(owner)

    def workers(self) -> list[WorkerRecord]:
        """See `TaskStore.workers`."""
        return self._workers.all()

    def listen(self, heard: Callable[[frozenset[News]], None]) -> Callable[[], None]:
        """See `TaskStore.listen`."""
        return (lambda: None) if self._doorbell is None else self._doorbell.listen(heard)

    def sweep(self) -> list[str]:
        """See `TaskStore.sweep`."""
        return sweep(self.database, ended=self._ended())

    def purge(self, *, limit: int = 500) -> list[PurgedTask]:
        """See `TaskStore.purge`."""
        return purge(self.database, limit=limit)

    def _ring(self, news: News) -> None:
        if self._doorbell is not None:
            self._doorbell.ring(news)

    def _ended(self) -> dict[str, Any]:
        """What every move into a final state sets besides the state."""
        now = self.database.now
        return {
            **NO_OWNER,
            "finished_at": now,
            "images_expire_at": now + self._images_keep_s,
            "record_expires_at": now + self._records_keep_s,
        }

    def _end(self, connection: Connection, lease: Lease, move: Update) -> None:
        move = move.where(held(lease)).values(**self._ended())
        if connection.execute(move.returning(t.c.seq)).first() is None:
            raise lease_lost(lease)
        settle(connection, lease.uid)


def open_store(settings: Settings) -> SqlTaskStore:
    """The task store that the settings name; by default a SQLite file in the data folder.

    Raises:
        TaskStoreError: it cannot be used; a URL that cannot is named without its password.
    """
    database = _open_named(settings)
    return SqlTaskStore(
        database,
        images_keep_s=settings.images_keep_s,
        records_keep_s=settings.records_keep_s,
        max_attempts=settings.max_attempts,
        queue_keep_s=settings.queue_keep_s,
        run_limit_s=settings.run_limit_s,
        max_running_per_key=settings.max_running_per_key,
        max_queued_per_key=settings.max_queued_per_key,
        doorbell=_doorbell_of(database, settings),
    )


def _open_named(settings: Settings) -> Database:
    if settings.database_url is None:
        file = settings.data_dir / "backdrop.sqlite3"
        return open_database(URL.create("sqlite", database=str(file)))
    try:
        url = make_url(settings.database_url.get_secret_value())
    except Exception:  # which may show the URL, password and all
        raise TaskStoreError("database_url: not a URL of a database") from None
    try:
        return open_database(url)
    except ValueError as cause:
        raise TaskStoreError(f"database_url: {cause}") from cause


def _doorbell_of(database: Database, settings: Settings) -> Doorbell | Notifier:
    if not database.is_postgresql:
        return Doorbell(settings.data_dir / "doorbell")
    from api.notify import Notifier  # psycopg is an extra

    return Notifier(database)
