"""The supervisor of one device: claims tasks, has its compute child run them, publishes.

It imports no torch, so that it starts fast, stays small and outlives whatever happens to the
device. All it knows may be lost at any moment: its tasks come back when their leases are over.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from api.blobs import BlobError, BlobStore, DiskFull, open_blobs
from api.child import COMPUTE_COMMAND, ChildProcess, Children, Gone, Inbox
from api.chore import Chore
from api.errors import TASK_IMAGE_UNDECODABLE, StoreUnavailable
from api.messages import (
    FINISHING,
    Add,
    Cancel,
    ImageBytes,
    Progress,
    Ready,
    Start,
    TaskEnded,
    ToSupervisor,
)
from api.process import die_with_parent, num_cores
from api.publish import Ending, GiveBack, Publisher, RunningTask
from api.settings import Settings
from api.store import open_store
from api.tasks import Lease, News, TaskRecord, TaskStore

logger = logging.getLogger(__name__)

MAX_IMAGES_IN_FLIGHT = 16
# Tasks claimed beyond those that may run, so that the step loop finds the next one prepared. It is
# one, since a claimed task is lost to a worker that becomes idle.
CLAIM_AHEAD = 1
# A worker that has tasks waits so long before it takes one more: an idle one then comes first.
BUSY_DELAY_S = 0.005
# What follows is only how late news may be that the doorbell did not bring.
POLL_S = 0.1  # how long a task may lie in an empty queue before an idle worker sees it
MAX_BEAT_PERIOD_S = 1.0  # progress is stored and a cancel seen at least so often
PURGE_PERIOD_S = 60.0
PURGE_LIMIT = 500
RETRY_S = 1.0  # after the store did not answer
STORAGE_DELAY_S = 30.0
RESERVE_BYTES = 64 * 2**20  # with less free space no task is started


class Supervisor:
    """Runs the tasks of a store on one device: one loop in one thread.

    Args:
        store: shared with the API and the other supervisors.
        blobs: likewise.
        settings: of the service.
        device: "cpu", "cuda:0", ...
        child_command: the compute child's program, which gets `--fd N --parent-pid P`.
    """

    def __init__(
        self,
        store: TaskStore,
        blobs: BlobStore,
        settings: Settings,
        device: str,
        *,
        child_command: Sequence[str] = COMPUTE_COMMAND,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._settings = settings
        self._device = device
        # New for every start: a name that lived on would renew the leases of its dead bearer.
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._publisher = Publisher(store, blobs)
        self._inbox: Inbox = queue.SimpleQueue()
        self._children = Children(
            child_command,
            self._inbox,
            Start(
                models_file=settings.models.absolute(),
                device=device,
                batch_invariant=settings.batch_invariant,
                write_parameters=settings.write_parameters,
                max_image_pixels=settings.max_image_pixels,
                device_cache_bytes=settings.device_cache_bytes,
                host_cache_bytes=settings.host_cache_bytes,
                encoding_cache_bytes=settings.encoding_cache_bytes,
                dtype=settings.dtype,
                kernels=settings.kernels,
                max_latent_area=settings.max_latent_area,
            ),
            num_threads=settings.cpu_threads or (num_cores() if device == "cpu" else 1),
            warm_spare=settings.warm_spare,
            silence_s=settings.child_silence_s,
        )
        self._tasks: dict[str, RunningTask] = {}  # in the child
        self._dropped: set[str] = set()  # still in the child, but nobody waits for them
        self._endings: list[tuple[RunningTask, Ending]] = []  # the store does not know them yet
        self._look_at = 0.0  # when the queue is looked into next
        self._paused_until = 0.0
        self._stopping = False
        beat_period_s = min(settings.lease_s / 5, MAX_BEAT_PERIOD_S)
        self._beating = Chore(self._beat, beat_period_s, retry_s=RETRY_S)
        self._chores = [
            Chore(self._store_endings, 0.0, retry_s=RETRY_S),
            self._beating,
            Chore(self._publisher.sweep, settings.lease_s / 2, retry_s=RETRY_S),
            Chore(self._purge, PURGE_PERIOD_S, retry_s=RETRY_S),
        ]

    def run(self) -> None:
        """Work until `stop` is called. Call it in the main thread (see `ChildProcess`).

        What is not finished then is given back in good order: other workers take it at once, and
        the interrupted start does not count against the task.
        """
        logger.info("worker %s on %s", self.owner, self._device)
        stop_listening = self._store.listen(self._inbox.put)
        in_order = False
        try:
            while not self._stopping:
                self._children.keep(is_busy=bool(self._tasks or self._dropped))
                self._claim()
                self._receive(timeout_s=self._wait_s())
                for chore in self._chores:
                    chore.do_if_due()
            in_order = True
        finally:
            stop_listening()
            self._close(crashed=not in_order)

    def stop(self) -> None:
        """Have `run` return soon. May be called from a signal handler or another thread."""
        self._stopping = True
        self._inbox.put(None)

    # --- claim ---

    def _claim(self) -> None:
        if time.monotonic() < max(self._look_at, self._paused_until) or not self._has_room():
            return
        try:
            records = self._store.claim(
                owner=self.owner,
                limit=1,
                lease_s=self._settings.lease_s,
                solo_allowed=not self._tasks,
            )
        except StoreUnavailable as exc:
            logger.warning("cannot claim: %s", exc)
            self._look_at = time.monotonic() + RETRY_S
            return
        for record in records:
            self._start(record)
        self._look_at = time.monotonic() + (BUSY_DELAY_S if records else POLL_S)

    def _wait_s(self) -> float:
        """Until the next look into the queue; at most `POLL_S`, for the chores."""
        if not self._has_room():
            return POLL_S
        wait_s = max(self._look_at, self._paused_until) - time.monotonic()
        return min(max(0.0, wait_s), POLL_S)

    def _has_room(self) -> bool:
        """Whether one more task may be claimed, to run or to be the next to run.

        A task that needs the step loop no more takes no room there. But so that images do not pile
        up before a slow encoder, no more tasks are being finished than may run.
        """
        if not self._children.is_ready or self._dropped or self._endings:
            return False
        max_running = self._settings.max_tasks_per_worker
        running = [task.record for task in self._tasks.values() if task.progress[1] != FINISHING]
        num_images = sum(record.num_images for record in running)
        return (
            len(running) < max_running + CLAIM_AHEAD
            and (num_images < MAX_IMAGES_IN_FLIGHT or len(running) <= CLAIM_AHEAD)
            and len(self._tasks) < 2 * max_running + CLAIM_AHEAD
            and not any(task.record.solo for task in self._tasks.values())
            and self._disk_has_room()
        )

    def _disk_has_room(self) -> bool:
        free = self._blobs.free_bytes()
        return free is None or free >= min(RESERVE_BYTES, self._settings.min_free_disk_bytes)

    def _start(self, record: TaskRecord) -> None:
        """Hand a claimed task to the child."""
        task = RunningTask(record, Lease(record.uid, self.owner, record.token))
        try:
            reference = record.inputs.get("reference")
            message = Add(
                uid=record.uid,
                params=record.params,
                foreground=self._blobs.get(record.inputs["foreground"]),
                reference=None if reference is None else self._blobs.get(reference),
            )
        except (BlobError, KeyError):
            ended = TaskEnded(record.uid, TASK_IMAGE_UNDECODABLE, "an input image is missing")
            self._endings.append((task, ended))
        except OSError as exc:
            self._pause(task, f"cannot read its inputs: {exc}")
        else:
            self._tasks[record.uid] = task
            self._children.send(message)
            logger.info("task %s: start %d of %d", task.uid, record.attempts, record.max_attempts)

    # --- messages ---

    def _receive(self, *, timeout_s: float) -> None:
        """Wait for a message, then handle all there are."""
        with contextlib.suppress(queue.Empty):
            item = self._inbox.get(timeout=timeout_s)
            while True:
                match item:
                    case frozenset():
                        self._hear(item)
                    case (child, message):
                        self._handle(child, message)
                item = self._inbox.get_nowait()

    def _hear(self, news: frozenset[News]) -> None:
        if News.QUEUED in news:
            delay_s = BUSY_DELAY_S if self._tasks else 0.0
            self._look_at = min(self._look_at, time.monotonic() + delay_s)
        if News.CANCEL in news:
            self._beating.hurry()

    def _handle(self, child: ChildProcess, message: ToSupervisor | Gone) -> None:
        match message:
            case Gone():
                if self._children.remove(child):
                    self._tasks_crashed()
            case Ready(device):
                self._children.started()
                logger.info("compute child %d is ready on %s", child.pid, device)
            case Progress(uid, progress, stage):
                if uid in self._tasks:
                    self._tasks[uid].progress = (progress, stage)
            case ImageBytes(uid):
                if uid in self._tasks:
                    self._write_image(self._tasks[uid], message)
            case TaskEnded(uid):
                self._dropped.discard(uid)
                if uid in self._tasks:
                    self._endings.append((self._tasks.pop(uid), message))

    def _tasks_crashed(self) -> None:
        for uid in self._tasks:
            logger.error("task %s: its compute child is gone", uid)
        self._endings += [(task, GiveBack(crashed=True)) for task in self._tasks.values()]
        self._tasks.clear()
        self._dropped.clear()

    def _write_image(self, task: RunningTask, image: ImageBytes) -> None:
        try:
            self._publisher.write_image(task, image)
        except (OSError, DiskFull) as exc:
            self._drop(task)
            self._pause(task, f"cannot write its image: {exc}")
        except BlobError:
            logger.exception("cannot write an image of task %s", task.uid)
            self._drop(task)
            self._endings.append((task, GiveBack(crashed=True, delay_s=RETRY_S)))

    def _pause(self, task: RunningTask, reason: str) -> None:
        """Give a task back without using a start up, and claim nothing for a while.

        The storage's fault is not the task's, which may well succeed once it is mended.
        """
        logger.warning("task %s: %s, pausing", task.uid, reason)
        self._paused_until = time.monotonic() + STORAGE_DELAY_S
        self._endings.append((task, GiveBack(crashed=False, delay_s=STORAGE_DELAY_S)))

    def _cancel(self, task: RunningTask) -> None:
        if not task.cancel_sent:
            task.cancel_sent = True
            self._children.send(Cancel(task.uid))

    def _drop(self, task: RunningTask) -> None:
        """Have the child stop a task whose end is decided; nothing is claimed until it has."""
        self._cancel(task)
        del self._tasks[task.uid]
        self._dropped.add(task.uid)

    # --- chores ---

    def _store_endings(self) -> None:
        """Publish what ended; what the store does not take now is tried again."""
        while self._endings:
            self._publisher.store_ending(*self._endings[0])
            del self._endings[0]

    def _beat(self) -> None:
        """Renew the leases, store progress, learn who is to be stopped."""
        held = [*self._tasks.values(), *(task for task, _ in self._endings)]
        answer = self._store.beat(
            [task.lease for task in held],
            lease_s=self._settings.lease_s,
            progress={task.uid: task.progress for task in held},
        )
        for uid in answer.cancel_requested & self._tasks.keys():
            self._cancel(self._tasks[uid])
        for uid in answer.lost & self._tasks.keys():
            logger.warning("task %s: lease lost, stopping it", uid)
            task = self._tasks[uid]
            self._drop(task)
            # Refused, since the lease is lost, and so its images are deleted; tried again if not.
            self._endings.append((task, GiveBack(crashed=True)))

    def _purge(self) -> None:
        while self._publisher.purge(limit=PURGE_LIMIT) == PURGE_LIMIT:
            self._beat()

    def _close(self, *, crashed: bool) -> None:
        """End the children and give the tasks back."""
        self._children.close()
        self._endings += [(task, GiveBack(crashed=crashed)) for task in self._tasks.values()]
        self._tasks.clear()
        try:
            self._store_endings()
        except StoreUnavailable:
            logger.exception("%d tasks come back when their leases are over", len(self._endings))


def run_supervisor(settings: Settings, device: str) -> None:
    """Supervise `device` until SIGTERM or SIGINT. Blocks; call it in the main thread."""
    store = open_store(settings)
    supervisor = Supervisor(store, open_blobs(settings), settings, device)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    try:
        supervisor.run()
    finally:
        store.close()


def start_supervisor(settings: Settings, device: str) -> subprocess.Popen[bytes]:
    """Start a supervisor as a process of its own, which ends in good order with this one.

    Call it in the main thread: the process gets SIGTERM when the thread that started it ends.
    The settings travel through its standard input; keys are left out.
    """
    command = [sys.executable, "-m", "api.supervisor", "--device", device]
    command += ["--parent-pid", str(os.getpid())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=2)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # its exit code tells why
        pipe.write(settings.model_dump_json(exclude={"keys"}).encode())
    return process


def main() -> None:
    """`python -m api.supervisor --device D --parent-pid P`, settings as JSON on standard input."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--device", required=True, help='"cpu", "cuda:0", ...')
    parser.add_argument("--parent-pid", type=int, required=True, help="whose death ends it")
    arguments = parser.parse_args()
    die_with_parent(signal.SIGTERM, arguments.parent_pid)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s supervisor %(levelname)s %(message)s"
    )
    settings = Settings.model_validate_json(sys.stdin.buffer.read())
    run_supervisor(settings, arguments.device)


if __name__ == "__main__":
    main()
