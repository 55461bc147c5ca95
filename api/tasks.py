"""Tasks as the service knows them, their legal moves, and the interface of every task store."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


class TaskStatus(StrEnum):
    """States of a task; the last four are final and never change."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Whether the task has ended."""
        return self not in (TaskStatus.QUEUED, TaskStatus.RUNNING)


LEGAL_MOVES: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.QUEUED: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELED, TaskStatus.EXPIRED}),
    TaskStatus.RUNNING: frozenset(
        {TaskStatus.QUEUED, TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELED}
    ),
    TaskStatus.SUCCEEDED: frozenset(),
    TaskStatus.FAILED: frozenset(),
    TaskStatus.CANCELED: frozenset(),
    TaskStatus.EXPIRED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be stored; its inputs already lie in the blob store.

    Attributes:
        uid: 20 characters, unguessable.
        tenant: public key of its owner.
        action: wire name of the action that made it.
        params: the validated request without images, every default written out; JSON-ready.
        inputs: role ("foreground", "reference") to blob key.
        model_key: the checkpoint it needs.
        compat_key: equal for tasks whose images may share a forward (checkpoint and latent size).
        seed: of the first image.
        num_images: how many images it will give.
        points: ConsumeApiPoint.
        note: for the caller, "" for none.
        est_cost: what it takes of a device, in any unit that all tasks share; 0 or more.
    """

    uid: str
    tenant: str
    action: str
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    model_key: str
    compat_key: str
    seed: int
    num_images: int
    points: int
    note: str = ""
    est_cost: float = 0.0


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What a caller tells equal requests by.

    Attributes:
        text: unique with the tenant.
        request_digest: of the request it stands for.
    """

    text: str
    request_digest: str


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """One published image: where it lies and what it is."""

    image_index: int
    blob_key: str
    sha256: str
    mime: str
    width_px: int
    height_px: int
    size_bytes: int
    seed: int


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A stored task. Times are Unix seconds by the store's clock; None where not reached."""

    uid: str
    tenant: str
    action: str
    status: TaskStatus
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    model_key: str
    compat_key: str
    seed: int
    num_images: int
    points: int
    note: str
    attempts: int
    max_attempts: int
    solo: bool
    token: int
    cancel_requested: bool
    progress: float
    stage: str
    error_code: int
    error_text: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    images_expire_at: float | None
    est_cost: float = 0.0
    max_batch: int | None = None  # how many tasks may share the device with it, itself included
    outputs: tuple[TaskOutput, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Account:
    """What a key may use and has used; a key that nothing is stored of may use all it likes.

    Attributes:
        total_points: ever granted; None for unlimited.
        reserved_points: of tasks that have not ended.
        used_points: of tasks that ended as Finished.
        expires_at: from this Unix time on the key gets no new tasks; None for never.
        max_queued: so many of its tasks may wait at once; None for the service's own limit.
    """

    total_points: int | None = None
    reserved_points: int = 0
    used_points: int = 0
    expires_at: float | None = None
    max_queued: int | None = None

    @property
    def left_points(self) -> int | None:
        """What new tasks may cost; None for unlimited."""
        if self.total_points is None:
            return None
        return self.total_points - self.used_points - self.reserved_points


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, and for whom.

    Attributes:
        num_queued: tasks that wait.
        est_cost: of them all.
        num_devices: workers that take tasks.
    """

    num_queued: int
    est_cost: float
    num_devices: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a task: `token` fences off every earlier owner."""

    uid: str
    owner: str
    token: int


@dataclass(frozen=True, slots=True)
class Claimant:
    """A worker that has room for tasks.

    Attributes:
        owner: its name, new for every start.
        num_running: tasks that share its device now.
        max_images: the tasks of one claim have no more images together, unless it is one task.
        loaded: checkpoints its device holds; their tasks are preferred.
    """

    owner: str
    num_running: int = 0
    max_images: float = math.inf
    loaded: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker says of itself.

    Attributes:
        owner: its name, new for every start.
        host: name of its machine.
        device: "cpu", "cuda:0", ...
        loaded_models: checkpoints its device holds.
        num_running: tasks in its hands.
        draining: it takes no more tasks.
    """

    owner: str
    host: str
    device: str
    loaded_models: tuple[str, ...]
    num_running: int
    draining: bool


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker as it was last heard of; times are Unix seconds by the store's clock."""

    state: WorkerState
    started_at: float
    last_beat_at: float


class News(StrEnum):
    """What `TaskStore.listen` tells, as one letter each."""

    QUEUED = "q"  # a task was put
    CANCEL = "c"  # the owner of a running task is asked to stop it


@dataclass(frozen=True, slots=True)
class BeatAnswer:
    """What a heartbeat learnt: leases that are gone, and tasks asked to stop."""

    lost: frozenset[str]
    cancel_requested: frozenset[str]


@dataclass(frozen=True, slots=True)
class PurgedTask:
    """Blobs a purge leaves without a row; delete them after the rows are gone."""

    uid: str
    blob_keys: tuple[str, ...]


class TaskStore(Protocol):
    """Durable tasks with leases and fencing tokens.

    Every method is one short transaction, safe to call from any thread and process. Blocking:
    call it off the event loop.
    """

    def put(self, task: NewTask, *, idempotency_key: IdempotencyKey | None = None) -> None:
        """Store `task` as queued and reserve its points. When this returns, it survives a power cut.

        Raises:
            IllegalMove: the uid, or the key together with the tenant, is taken.
            QueueFull: its tenant has as many tasks waiting as it may.
            TooFewCredits: its tenant has not enough points.
        """
        ...

    def require_place(self, *, tenant: str) -> None:
        """Raise `QueueFull` where `put` would, so far as it can be told before."""
        ...

    def find_idempotent(self, text: str, *, tenant: str) -> tuple[str, str] | None:
        """Uid and request digest of what the tenant put under the key `text`."""
        ...

    def get_many(self, uids: Sequence[str], *, tenant: str) -> list[TaskRecord | None]:
        """Records in the order of `uids`; None for unknown ones and those of other tenants."""
        ...

    def get(self, uid: str) -> TaskRecord | None:
        """The record whoever owns it, for the service itself; None when unknown."""
        ...

    def unfinished(self, *, tenant: str) -> list[str]:
        """Uids of the tenant's queued and running tasks, oldest first."""
        ...

    def account(self, *, tenant: str) -> Account:
        """What the tenant may use and has used."""
        ...

    def depth(self) -> int:
        """Number of queued tasks."""
        ...

    def backlog(self) -> Backlog:
        """What waits, and for whom; takes as long as the queue is."""
        ...

    def claim(self, claimant: Claimant, *, limit: int, lease_s: float) -> list[TaskRecord]:
        """Take up to `limit` queued tasks of one compat_key; each start is counted before it runs.

        Which: see `api.claims`. Where several workers are at work none takes more than its share
        of what waits. A task marked solo is taken only by an idle worker, and then alone; one with
        a `max_batch` only where no more tasks share the device.
        """
        ...

    def beat(
        self,
        leases: Sequence[Lease],
        *,
        lease_s: float,
        progress: Mapping[str, tuple[float, str]],
        previews: Mapping[str, Mapping[int, bytes]] | None = None,
    ) -> BeatAnswer:
        """Renew the leases, store progress (uid -> (0..1, stage)) and previews (uid -> index -> PNG).

        No lease outlives its task's run deadline by more than `lease_s`.
        The previews of a task that is not named stay as they are.
        """
        ...

    def previews(self, uid: str, *, tenant: str) -> dict[int, bytes]:
        """The latest previews of a task that runs, as PNG files by image index.

        None of other tasks, unknown ones and those of other tenants.
        """
        ...

    def finish(self, lease: Lease, outputs: Sequence[TaskOutput]) -> None:
        """Running -> succeeded, outputs in the same transaction. Raises `LeaseLost`."""
        ...

    def fail(
        self,
        lease: Lease,
        *,
        error_code: int,
        error_text: str,
        outputs: Sequence[TaskOutput] = (),
    ) -> None:
        """Running -> failed; `outputs` are the images that did succeed. Raises `LeaseLost`."""
        ...

    def release(
        self, lease: Lease, *, crashed: bool, delay_s: float = 0.0, max_batch: int | None = None
    ) -> TaskStatus:
        """Give a running task back.

        running -> queued (solo when `crashed`), or failed when its starts are used up, or
        canceled when that was asked. With a `max_batch` no more tasks will share a device with it.
        Returns the new status. Raises `LeaseLost`.
        """
        ...

    def end_canceled(self, lease: Lease) -> None:
        """Running -> canceled, by the owner that stopped it. Raises `LeaseLost`."""
        ...

    def cancel(self, uid: str, *, tenant: str) -> TaskStatus | None:
        """Queued: canceled at once. Running: asks the owner to stop. None when unknown."""
        ...

    def check_in(self, worker: WorkerState) -> None:
        """A worker says that it is there, and how it does."""
        ...

    def check_out(self, owner: str) -> None:
        """A worker ends."""
        ...

    def workers(self) -> list[WorkerRecord]:
        """All that were heard of within the last minute, the longest at work first."""
        ...

    def listen(self, heard: Callable[[frozenset[News]], None]) -> Callable[[], None]:
        """Have `heard` called on another thread soon after something happened.

        Some or all news may be missed: it saves time, and replaces no polling. Returns what ends
        it, after which `heard` is not called any more.
        """
        ...

    def sweep(self) -> list[str]:
        """End or requeue running tasks whose lease is over, expire queued ones past their deadline.

        Returns the uids touched.
        """
        ...

    def purge(self, *, limit: int = 500) -> list[PurgedTask]:
        """Forget images past `images_expire_at` and records past their own time."""
        ...
