"""The processes of a service: two of the API, two supervisors; who is killed is started again."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from scripts.chaos_run.faults import API, SUPERVISOR
from scripts.chaos_run.journal import Journal

_RESTART_S = 0.2
_STOP_S = 20.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
CHILD_MODULES = ("api.compute", "scripts.chaos_run.stand_in_child")


class Member:
    """One process of the service and its successors.

    Args:
        role: API or SUPERVISOR.
        command: what runs.
        environment: of the process.
        log: file of its output.
    """

    def __init__(
        self, role: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.role = role
        self._command = command
        self._environment = environment
        self._log = log
        self._start_at = 0.0
        self._was_killed = False
        self._started_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it runs, stopped or not."""
        return self.process is not None and self.process.poll() is None

    @property
    def age_s(self) -> float:
        """Since its start."""
        return time.monotonic() - self._started_at

    def tend(self, journal: Journal) -> None:
        """Start it where it is not; note that it ended if nobody killed it."""
        if self.process is not None and self.process.poll() is not None:
            if not self._was_killed:
                journal.add("exit", role=self.role, status=self.process.returncode)
            self.process, self._start_at = None, time.monotonic() + _RESTART_S
        if self.process is None and time.monotonic() >= self._start_at:
            self._start()

    def kill(self) -> bool:
        """Kill -9; whether there was something to kill."""
        if self.process is None or self.process.poll() is not None:
            return False
        self._was_killed = True
        self.process.kill()
        self.process.wait()
        return True

    def child(self) -> psutil.Process | None:
        """The compute child at work, not its spare; None where there is none."""
        if self.process is None:
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children()
            found = [(each.create_time(), each.pid, each) for each in children if _computes(each)]
            return min(found)[2] if found else None
        return None

    def terminate(self) -> None:
        """Ask it to end."""
        if self.process is not None:
            self._was_killed = True
            self.process.terminate()

    def wait(self) -> None:
        """Until it has ended, in good order or not."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_S)
            self.process.kill()
            self.process.wait()
            self.process = None

    def _start(self) -> None:
        parent = os.getpid()

        def die_with_parent() -> None:  # nothing is left where this run itself is killed
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        self._was_killed = False
        self._started_at = time.monotonic()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self._environment),
                preexec_fn=die_with_parent,
            )


class Cluster:
    """All members. Use it in the main thread: they die with the thread that started them.

    Args:
        settings: BACKDROP_... variables of every process.
        ports: one API process listens on each.
        num_supervisors: how many.
        stand_in: supervisors have children that load no torch.
        logs: folder of their output.
        journal: ends that nobody asked for are noted there.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        *,
        ports: Sequence[int],
        num_supervisors: int,
        stand_in: bool,
        logs: Path,
        journal: Journal,
    ) -> None:
        environment = os.environ | dict(settings)
        backdrop = [sys.executable, "-m", "backdrop"]
        worker = [*backdrop, "worker", "--device", "cpu"]
        if stand_in:
            worker = [sys.executable, "-m", "scripts.chaos_run.stand_in_worker"]
        self._journal = journal
        self.members = [
            Member(API, [*backdrop, "api", "--port", str(port)], environment, logs / f"api-{index}")
            for index, port in enumerate(ports)
        ] + [
            Member(SUPERVISOR, worker, environment, logs / f"supervisor-{index}")
            for index in range(num_supervisors)
        ]

    def tend(self) -> None:
        """Start who is missing. Call it often."""
        for member in self.members:
            member.tend(self._journal)

    def tend_until(self, done: Callable[[], bool], *, timeout_s: float) -> bool:
        """Tend until `done`; whether that was in time."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                return False
            self.tend()
            time.sleep(0.05)
        return True

    def of_role(self, role: str) -> list[Member]:
        """The members of a role."""
        return [member for member in self.members if member.role == role]

    def stop(self) -> None:
        """End all in good order."""
        for member in self.members:
            member.terminate()
        for member in self.members:
            member.wait()


@contextlib.contextmanager
def stopping(cluster: Cluster) -> Iterator[Cluster]:
    """Ends the cluster whatever happens."""
    try:
        yield cluster
    finally:
        cluster.stop()


def _computes(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return any(module in process.cmdline() for module in CHILD_MODULES)
    return False
