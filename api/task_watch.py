"""Many watch tasks, one looks: the poller behind the event streams of a process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from anyio import to_thread
from sqlalchemy import bindparam, select

from api.database import Database
from api.errors import QueueFull, TaskStoreError
from api.outage import warn_of
from api.queue_positions import QueuePositions
from api.schema import tasks as t
from api.tasks import TaskStatus

logger = logging.getLogger(__name__)

POLL_S = 0.5
RETRY_S = 2.0  # after the store did not answer
HEARTBEAT_S = 15.0  # proxies cut what is silent for a minute, some for 30 s
MAX_STREAMS = 2_000  # of a process: each holds a socket
_UIDS_PER_QUERY = 500

_GLANCES = select(t.c.uid, t.c.state, t.c.progress, t.c.stage, t.c.cancel_requested).where(
    t.c.uid.in_(bindparam("uids", expanding=True))
)


@dataclass(frozen=True, slots=True)
class Glance:
    """What changes while a task waits and runs; `queue_position` is 0 unless it waits."""

    status: TaskStatus
    progress: float
    stage: str
    cancel_requested: bool
    queue_position: int


class _Watcher:
    """One stream's view: only the latest is kept, so that a slow client costs no memory."""

    def __init__(self) -> None:
        self.latest: Glance | None = None
        self.ended = False
        self._changed = asyncio.Event()

    def show(self, glance: Glance | None) -> None:
        """A look at the task; None where it is no longer stored."""
        if glance is None:
            self.end()
        elif glance != self.latest:
            self.latest = glance
            self._changed.set()

    def end(self) -> None:
        """There is no more to come."""
        self.ended = True
        self._changed.set()

    async def changed(self, timeout_s: float) -> bool:
        """Whether something changed within the time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True


class TaskWatch:
    """Looks at all watched tasks in one query every `poll_s`, and at nothing while none is watched.

    A stream that waits holds neither a thread nor a connection to the store. Use it in the event
    loop only, but for `close`.

    Args:
        database: of the task store.
        positions: of queued tasks.
        poll_s: how old news may be.
        heartbeat_s: a stream is silent for no longer.
    """

    def __init__(
        self,
        database: Database,
        positions: QueuePositions,
        *,
        poll_s: float = POLL_S,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._database = database
        self._positions = positions
        self._poll_s = poll_s
        self._heartbeat_s = heartbeat_s
        self._watchers: dict[str, set[_Watcher]] = {}
        self._poller: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_closed = False  # no stream is told more

    @property
    def num_streams(self) -> int:
        """How many streams are open."""
        return sum(map(len, self._watchers.values()))

    def require_room(self) -> None:
        """Raises `QueueFull` where no more streams are taken."""
        if self.is_closed or self.num_streams >= MAX_STREAMS:
            raise QueueFull("Too many event streams, try again later")

    async def follow(self, uid: str) -> AsyncGenerator[Glance | None, None]:
        """Every change from now on, until the task has ended; None is a heartbeat.

        It also ends where the task is forgotten and where the service stops.
        """
        watcher = _Watcher()
        self._watchers.setdefault(uid, set()).add(watcher)
        try:
            self._keep_polling()
            while not (watcher.ended or self.is_closed):
                if not await watcher.changed(self._heartbeat_s):
                    yield None
                elif watcher.latest is not None and not watcher.ended:
                    glance = watcher.latest
                    yield glance
                    if glance.status.is_final:
                        return
        finally:
            self._watchers[uid].discard(watcher)
            if not self._watchers[uid]:
                del self._watchers[uid]

    def close(self) -> None:
        """End all streams. May be called from another thread."""
        self.is_closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end_all)

    def _keep_polling(self) -> None:
        if self._poller is None or self._poller.done():
            self._loop = asyncio.get_running_loop()
            self._poller = self._loop.create_task(self._poll())

    async def _poll(self) -> None:
        try:
            while self._watchers:
                try:
                    glances = await to_thread.run_sync(self._look, list(self._watchers))
                except TaskStoreError as exc:
                    warn_of(logger, "cannot look at watched tasks", exc)
                    await asyncio.sleep(RETRY_S)
                    continue
                for uid, watchers in self._watchers.items():
                    if uid in glances:  # else it was not asked for, being new
                        for watcher in watchers:
                            watcher.show(glances[uid])
                await asyncio.sleep(self._poll_s)
        finally:  # whatever ended it, nobody may wait for ever
            self._end_all()

    def _end_all(self) -> None:
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.end()

    def _look(self, uids: Sequence[str]) -> dict[str, Glance | None]:
        glances: dict[str, Glance | None] = dict.fromkeys(uids)
        with self._database.read() as connection:
            rows = [
                row
                for start in range(0, len(uids), _UIDS_PER_QUERY)
                for row in connection.execute(
                    _GLANCES, {"uids": uids[start : start + _UIDS_PER_QUERY]}
                )
            ]
        for row in rows:
            position = self._positions.of(row.uid) if row.state is TaskStatus.QUEUED else 0
            glances[row.uid] = Glance(
                row.state, row.progress, row.stage, row.cancel_requested, position
            )
        return glances
