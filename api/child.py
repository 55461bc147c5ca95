"""The supervisor's side of its compute children: start, talk without ever waiting, replace."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TypeAlias

from api.messages import Start, ToChild, ToSupervisor
from api.tasks import News

logger = logging.getLogger(__name__)

MAX_RESTART_DELAY_S = 30.0

COMPUTE_COMMAND = (sys.executable, "-m", "api.compute")


def restart_delay_s(failed_starts: int) -> float:
    """Seconds to wait after a failed start that followed `failed_starts` others."""
    doublings = min(failed_starts, 10)  # unbounded, it would not fit a float one day
    return min(MAX_RESTART_DELAY_S, 0.5 * 2.0**doublings)


class Gone:
    """Stands in the inbox for the end of a child's messages: it died or was killed."""


# Beside the messages of children what the task store tells; None only ends a wait.
Inbox: TypeAlias = "SimpleQueue[tuple[ChildProcess, ToSupervisor | Gone] | frozenset[News] | None]"


class ChildProcess:
    """A running child. Make it in the main thread: the child dies with the thread that made it.

    Two threads move the messages. Without them a child that is busy sending an image while its
    supervisor is busy sending an upload would wait for each other for ever, and a child in a long
    step would keep the supervisor from its heartbeat.

    Args:
        command: program that takes `--fd N --parent-pid P`.
        inbox: gets (self, message) for each message and at last (self, Gone()).
        num_threads: of the child's CPU kernels.
    """

    def __init__(self, command: Sequence[str], inbox: Inbox, *, num_threads: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # Set even where it is set already: cluster managers export 1 for every process.
            environment = {**os.environ, "OMP_NUM_THREADS": str(num_threads)}
            descriptor = theirs.fileno()
            self._process = subprocess.Popen(
                [*command, "--fd", str(descriptor), "--parent-pid", str(os.getpid())],
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self._socket = ours
        self._connection: Connection = Connection(os.dup(ours.fileno()))
        self._inbox = inbox
        self._outbox: SimpleQueue[ToChild | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=move, name=f"{move.__name__} {self.pid}", daemon=True)
            for move in (self._read, self._write)
        ]
        self.last_heard_at = time.monotonic()
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, message: ToChild) -> None:
        """Hand over a message; what a dead child does not take is dropped."""
        self._outbox.put(message)

    def kill(self) -> None:
        """End the process; its `Gone` follows in the inbox."""
        self._process.kill()

    def close(self, *, grace_s: float = 0.0) -> int:
        """Kill the process if it does not end by itself; free everything; returns its exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        self._process.kill()
        return_code = self._process.wait()
        self._outbox.put(None)
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes both threads, whoever else holds its end
        for thread in self._threads:
            thread.join()
        self._connection.close()
        self._socket.close()
        return return_code

    def _read(self) -> None:
        try:
            while True:
                message: ToSupervisor = self._connection.recv()
                self.last_heard_at = time.monotonic()
                self._inbox.put((self, message))
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("unreadable message from compute child %d", self.pid)
        self._inbox.put((self, Gone()))

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while (message := self._outbox.get()) is not None:
                self._connection.send(message)


class Children:
    """The child at work and, once that one is ready, a warm spare.

    Args:
        command: program that takes `--fd N --parent-pid P`.
        inbox: gets the messages of all children.
        start: makes a child the worker of the device.
        num_threads: of a child's CPU kernels.
        warm_spare: keep a second child whose libraries are imported.
        silence_s: a child that is busy and says nothing for so long is killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        inbox: Inbox,
        start: Start,
        *,
        num_threads: int,
        warm_spare: bool,
        silence_s: float,
    ) -> None:
        self.is_ready = False
        self._command = command
        self._inbox = inbox
        self._start = start
        self._num_threads = num_threads
        self._warm_spare = warm_spare
        self._silence_s = silence_s
        self._working: ChildProcess | None = None
        self._spare: ChildProcess | None = None
        self._failed_starts = 0
        self._spawn_at = 0.0

    def keep(self, *, is_busy: bool) -> None:
        """Start what is missing and end what hangs; `is_busy`: the child has something to do."""
        may_spawn = time.monotonic() >= self._spawn_at
        if self._working is None and (self._spare is not None or may_spawn):
            self._working, self._spare = self._spare or self._spawn(), None
            self.send(self._start)
        if self._warm_spare and self.is_ready and self._spare is None and may_spawn:
            self._spare = self._spawn()
        if self._working is not None and (is_busy or not self.is_ready):
            self._end_silence(self._working)

    def send(self, message: ToChild) -> None:
        """To the child at work, if there is one. Its silence is counted from here."""
        if self._working is not None:
            self._working.last_heard_at = time.monotonic()
            self._working.send(message)

    def kill(self) -> None:
        """End the child at work, if there is one; its `Gone` follows in the inbox."""
        if self._working is not None:
            self._working.kill()

    def started(self) -> None:
        """The child at work has said that it is ready."""
        self.is_ready, self._failed_starts = True, 0

    def remove(self, child: ChildProcess) -> bool:
        """Clear up after a child that is gone; whether it was the one at work."""
        # It closed its pipe: it is dead or about to end, and its exit code tells why.
        return_code = child.close(grace_s=1.0)
        was_working = child is self._working
        logger.error(
            "%s child %d is gone (exit code %d)",
            "compute" if was_working else "spare",
            child.pid,
            return_code,
        )
        if not (was_working and self.is_ready):
            # It may never start: an import error, a broken models.yaml, no device.
            delay_s = restart_delay_s(self._failed_starts)
            self._failed_starts += 1
            self._spawn_at = time.monotonic() + delay_s
            logger.error("it was not ready yet; the next start is in %.1f s", delay_s)
        if was_working:
            self._working, self.is_ready = None, False
        else:
            self._spare = None
        return was_working

    def close(self) -> None:
        """End all."""
        for child in (self._working, self._spare):
            if child is not None:
                child.close()
        self._working = self._spare = None
        self.is_ready = False

    def _spawn(self) -> ChildProcess:
        return ChildProcess(self._command, self._inbox, num_threads=self._num_threads)

    def _end_silence(self, child: ChildProcess) -> None:
        # A heartbeat must not keep the tasks of a hung device running for ever.
        if time.monotonic() - child.last_heard_at > self._silence_s:
            logger.error("compute child %d has been silent for too long, killing it", child.pid)
            child.last_heard_at = time.monotonic()
            child.kill()
