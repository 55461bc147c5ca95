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

from api.blobs import BlobError, BlobStore, BlobUnavailable, open_blobs
from api.blobs.patient import PatientBlobs
from api.child import COMPUTE_COMMAND, ChildProcess, Children, Gone, Inbox
from api.chore import Chore
from api.claimer import Claimer
from api.errors import TASK_IMAGE_UNDECODABLE, StoreUnavailable
from api.instruments.logs import set_up_logging
from api.instruments.worker import REPORT_PERIOD_S, WorkerInstruments
from api.messages import (
    Cancel,
    ImageBytes,
    Loaded,
    PreviewBytes,
    Progress,
    Ready,
    TaskEnded,
    ToSupervisor,
)
from api.orphans import OrphanSweeper
from api.process import die_with_parent, num_cores
from api.publish import Ending, GiveBack, Publisher, RunningTask, order_of
from api.settings import SECRETS, Settings
from api.start import start_of
from api.store import open_store
from api.tasks import Lease, News, TaskRecord, TaskStore, WorkerState

logger = logging.getLogger(__name__)

TICK_S = 0.1  # how often the chores are looked at
# What follows is only how late news may be that the doorbell did not bring.
MAX_BEAT_PERIOD_S = 1.0  # progress is stored and a cancel seen at least so often
CHECK_IN_PERIOD_S = 5.0
PURGE_PERIOD_S = 60.0
PURGE_LIMIT = 500
RETRY_S = 1.0  # after the store did not answer
STORAGE_DELAY_S = 30.0
STOP_GRACE_S = 5.0  # a child that does not stop an overdue task within it is killed


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
        self._settings = settings
        self._device = device
        # New for every start: a name that lived on would renew the leases of its dead bearer.
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._instruments = WorkerInstruments(settings, worker=self.owner, device=device)
        self._inbox: Inbox = queue.SimpleQueue()
        self._children = Children(
            [*child_command, "--log-format", settings.log_format],
            self._inbox,
            start_of(settings, device),
            num_threads=settings.cpu_threads or (num_cores() if device == "cpu" else 1),
            warm_spare=settings.warm_spare,
            silence_s=settings.child_silence_s,
        )
        self._tasks: dict[str, RunningTask] = {}  # in the child
        self._opening: list[RunningTask] = []  # their inputs are being read
        self._dropped: set[str] = set()  # still in the child, but nobody waits for them
        self._endings: list[tuple[RunningTask, Ending]] = []  # the store does not know them yet
        self._loaded: tuple[str, ...] = ()  # checkpoints on the child's device
        self._claimer = Claimer(store, blobs, settings, self.owner)
        self._stopping = False
        self._drain_until = 0.0
        beat_period_s = min(settings.lease_s / 5, MAX_BEAT_PERIOD_S)
        self._beating = Chore(self._beat, beat_period_s, retry_s=RETRY_S)
        self._checking_in = Chore(self._check_in, CHECK_IN_PERIOD_S, retry_s=RETRY_S)
        # A slow blob store costs no lease: there is a heartbeat while it is waited for.
        self._blobs = PatientBlobs(blobs, self._beating.do_if_due, period_s=beat_period_s)
        self._publisher = Publisher(store, self._blobs)
        self._chores = [
            Chore(self._store_endings, 0.0, retry_s=RETRY_S),
            self._beating,
            Chore(self._sweep, settings.lease_s / 2, retry_s=RETRY_S),
            Chore(self._report, REPORT_PERIOD_S, retry_s=RETRY_S),
            Chore(self._purge, PURGE_PERIOD_S, retry_s=RETRY_S),
            Chore(self._stop_overdue, TICK_S, retry_s=RETRY_S),
            self._checking_in,
        ]

    def run(self) -> None:
        """Work until `stop` is called. Call it in the main thread (see `ChildProcess`).

        What runs then may be finished for `drain_s`. The rest is given back in good order: other
        workers take it at once, and the interrupted start does not count against the task.
        """
        logger.info("worker %s on %s", self.owner, self._device)
        stop_listening = self._store.listen(self._inbox.put)
        in_order = False
        try:
            while not self._stopping or self._drains():
                self._children.keep(is_busy=bool(self._tasks or self._dropped))
                self._receive(timeout_s=self._claim())
                for chore in self._chores:
                    chore.do_if_due()
            in_order = True
        finally:
            stop_listening()
            self._close(crashed=not in_order)

    def stop(self) -> None:
        """Have `run` return soon. May be called from a signal handler or another thread.

        Called again, it returns without finishing anything.
        """
        self._drain_until = 0.0 if self._stopping else time.monotonic() + self._settings.drain_s
        self._stopping = True
        self._checking_in.hurry()
        self._inbox.put(None)

    def _drains(self) -> bool:
        has_work = bool(self._tasks or self._endings)
        return has_work and time.monotonic() < self._drain_until

    # --- claim ---

    def _claim(self) -> float:
        """Start what there is room for; how long to wait for messages before the next look."""
        if self._stopping or not self._children.is_ready or self._dropped or self._endings:
            return TICK_S
        for record in self._claimer.claim(self._tasks.values(), self._loaded):
            with self._instruments.starting(record):
                self._start(record)
        return self._claimer.wait_s(self._tasks.values(), at_most=TICK_S)

    def _start(self, record: TaskRecord) -> None:
        """Hand a claimed task to the child."""
        task = RunningTask(record, Lease(record.uid, self.owner, record.token))
        self._opening.append(task)
        try:
            message = order_of(record, self._blobs)
        except BlobUnavailable as exc:
            self._pause(task, f"cannot read its inputs: {exc}")
        except (BlobError, KeyError):
            ended = TaskEnded(record.uid, TASK_IMAGE_UNDECODABLE, "an input image is missing")
            self._endings.append((task, ended))
        else:
            self._tasks[record.uid] = task
            for each in self._tasks.values():
                each.most_running = max(each.most_running, len(self._tasks))
            self._children.send(message)
            self._instruments.started(record)
            logger.info("task %s: start %d of %d", task.uid, record.attempts, record.max_attempts)
        finally:
            self._opening.remove(task)

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
                        with self._instruments.hearing(message):
                            self._handle(child, message)
                item = self._inbox.get_nowait()

    def _hear(self, news: frozenset[News]) -> None:
        if News.QUEUED in news:
            self._claimer.hear(is_busy=bool(self._tasks))
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
            case Loaded(models):
                self._loaded = models
                self._checking_in.hurry()
            case Progress(uid, progress, stage) if uid in self._tasks:
                self._tasks[uid].progress = (progress, stage)
            case PreviewBytes(uid, image_index, png) if uid in self._tasks:
                self._tasks[uid].show(image_index, png)
            case ImageBytes(uid) if uid in self._tasks:
                self._write_image(self._tasks[uid], message)
            case TaskEnded(uid):
                self._dropped.discard(uid)
                if uid in self._tasks:
                    task = self._tasks.pop(uid)
                    self._endings.append((task, task.ending(message)))

    def _tasks_crashed(self) -> None:
        self._instruments.child_gone()
        for uid in self._tasks:
            logger.error("task %s: its compute child is gone", uid)
        self._endings += [(task, GiveBack(crashed=True)) for task in self._tasks.values()]
        self._tasks.clear()
        self._dropped.clear()
        self._loaded = ()

    def _write_image(self, task: RunningTask, image: ImageBytes) -> None:
        try:
            self._publisher.write_image(task, image)
        except BlobUnavailable as exc:
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
        self._claimer.pause(STORAGE_DELAY_S)
        self._endings.append((task, GiveBack(crashed=False, delay_s=STORAGE_DELAY_S)))

    def _cancel(self, task: RunningTask) -> None:
        if not task.cancel_sent:
            task.cancel_sent = True
            self._children.send(Cancel(task.uid))

    def _drop(self, task: RunningTask) -> None:
        """Have the child stop a task whose end is decided; nothing is claimed until it has."""
        self._cancel(task)
        if self._tasks.pop(task.uid, None):  # it may have been dropped while its image was written
            self._dropped.add(task.uid)

    # --- chores ---

    def _store_endings(self) -> None:
        """Publish what ended; what the store does not take now is tried again."""
        while self._endings:
            status = self._publisher.store_ending(*self._endings[0])
            self._instruments.ended(self._endings[0][0], status)
            del self._endings[0]

    def _beat(self) -> None:
        """Renew the leases, store progress, learn who is to be stopped."""
        held = [*self._tasks.values(), *self._opening, *(task for task, _ in self._endings)]
        answer = self._store.beat(
            [task.lease for task in held],
            lease_s=self._settings.lease_s,
            progress={task.uid: task.progress for task in held},
            previews={task.uid: task.previews for task in held if task.has_new_previews},
        )
        for task in held:
            task.has_new_previews = False
        for uid in answer.cancel_requested & self._tasks.keys():
            self._cancel(self._tasks[uid])
        for uid in answer.lost & self._tasks.keys():
            logger.warning("task %s: lease lost, stopping it", uid)
            task = self._tasks[uid]
            self._drop(task)
            # Refused, since the lease is lost, and so its images are deleted; tried again if not.
            self._endings.append((task, GiveBack(crashed=True)))

    def _sweep(self) -> None:
        self._instruments.swept(self._publisher.sweep())

    def _report(self) -> None:
        self._instruments.report(self._tasks.values(), is_ready=self._children.is_ready)

    def _stop_overdue(self) -> None:
        """Stop what has run for too long; a child that does not even do that is killed."""
        for task in self._tasks.values():
            overdue_s = time.monotonic() - task.started_at - self._settings.run_limit_s
            if overdue_s > 0.0 and not task.stop_reason:
                task.stop_reason = f"stopped: it ran for {self._settings.run_limit_s:g} s"
                logger.warning("task %s: %s", task.uid, task.stop_reason)
                self._cancel(task)
            elif overdue_s > STOP_GRACE_S:
                logger.error("task %s cannot be stopped, its compute child is killed", task.uid)
                self._children.kill()
                return

    def _check_in(self) -> None:
        """Tell the other workers and whoever watches."""
        self._store.check_in(
            WorkerState(
                owner=self.owner,
                host=socket.gethostname(),
                device=self._device,
                loaded_models=self._loaded,
                num_running=len(self._tasks),
                draining=self._stopping,
            )
        )

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
            self._store.check_out(self.owner)
        except StoreUnavailable:
            logger.exception("%d tasks come back when their leases are over", len(self._endings))
        finally:
            self._instruments.close()


def run_supervisor(settings: Settings, device: str) -> None:
    """Supervise `device` until SIGTERM or SIGINT. Blocks; call it in the main thread."""
    store = open_store(settings)
    blobs = open_blobs(settings)
    supervisor = Supervisor(store, blobs, settings, device)
    sweeper = OrphanSweeper(store.database, blobs, images_keep_s=settings.images_keep_s)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    sweeper.start()
    try:
        supervisor.run()
    finally:
        sweeper.stop()
        store.close()


def start_supervisor(settings: Settings, device: str) -> subprocess.Popen[bytes]:
    """Start a supervisor as a process of its own, which ends in good order with this one.

    Call it in the main thread: the process gets SIGTERM when the thread that started it ends.
    The settings travel through its standard input. What is secret stays here, also in the
    environment: a supervisor needs no keys, and its child opens files from elsewhere.
    """
    secret_variables = {f"BACKDROP_{name}".upper() for name in SECRETS}
    environment = {
        name: value for name, value in os.environ.items() if name.upper() not in secret_variables
    }
    command = [sys.executable, "-m", "api.supervisor", "--device", device]
    command += ["--parent-pid", str(os.getpid())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=2, env=environment)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # its exit code tells why
        pipe.write(settings.for_worker().encode())
    return process


def main() -> None:
    """`python -m api.supervisor --device D --parent-pid P`, settings as JSON on standard input."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--device", required=True, help='"cpu", "cuda:0", ...')
    parser.add_argument("--parent-pid", type=int, required=True, help="whose death ends it")
    arguments = parser.parse_args()
    die_with_parent(signal.SIGTERM, arguments.parent_pid)
    settings = Settings.model_validate_json(sys.stdin.buffer.read())
    set_up_logging("supervisor", settings.log_format)
    run_supervisor(settings, arguments.device)


if __name__ == "__main__":
    main()
