"""The actor of a Ray cluster: one supervisor process on the device that Ray gave it.

Imports no Ray: the machine that runs it has it loaded already, and tests need none.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from api.devices import CPU
from api.fleet import STOP_TIMEOUT_S, end_processes
from api.process import set_library_environment
from api.settings import Settings, what_is_wrong
from api.supervisor import start_supervisor

logger = logging.getLogger(__name__)

RESTART_DELAY_S = 5.0  # Ray itself restarts at once: a store that is away must not cost a core


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is made of and what it takes of the cluster.

    Attributes:
        settings: those given to every worker; a machine's own environment has the rest.
        num_gpus: 1, or 0 for a worker on CPU cores.
        num_cpus: cores that Ray sets aside for it.
    """

    settings: Mapping[str, Any]
    num_gpus: int
    num_cpus: int

    @property
    def device(self) -> str:
        """As torch takes it: Ray shows a worker its own GPU alone, by CUDA_VISIBLE_DEVICES."""
        return "cuda:0" if self.num_gpus else CPU


@dataclass(frozen=True, slots=True)
class Health:
    """What a running worker tells of itself."""

    machine: str
    device: str
    pid: int  # of the supervisor
    uptime_s: float


class ClusterWorker:
    """Runs one supervisor; ends with it, so that Ray starts another, maybe on another machine.

    Ray makes it and calls its methods in the main thread of a process of its own, which is the
    thread whose death ends the supervisor in good order (see `start_supervisor`).

    Args:
        order: what to run.

    Raises:
        ValueError: this machine's environment has a setting that is refused.
    """

    def __init__(self, order: Order) -> None:
        assert threading.current_thread() is threading.main_thread(), "see start_supervisor"
        set_library_environment()
        self._order = order
        self._draining = False
        self._started_at = time.monotonic()
        try:
            settings = Settings(**order.settings)
        except ValidationError as exc:
            raise ValueError(what_is_wrong(exc)) from None
        self._timeout_s = settings.drain_s + STOP_TIMEOUT_S
        self._process = start_supervisor(settings, order.device)
        threading.Thread(target=self._end_with_supervisor, daemon=True).start()

    def order(self) -> Order:
        """What it was made of, for another one like it."""
        return self._order

    def health(self) -> Health:
        """What is running.

        Raises:
            RuntimeError: the supervisor has ended; Ray is about to restart the worker.
        """
        if self._process.poll() is not None:
            raise RuntimeError(f"the supervisor ended with status {self._process.returncode}")
        return Health(
            machine=socket.gethostname(),
            device=self._order.device,
            pid=self._process.pid,
            uptime_s=time.monotonic() - self._started_at,
        )

    def drain(self) -> None:
        """End the supervisor in good order: its tasks go to other workers at once."""
        self._draining = True
        end_processes([self._process], timeout_s=self._timeout_s)

    def _end_with_supervisor(self) -> None:
        return_code = self._process.wait()
        if self._draining:
            return
        logger.error("the supervisor ended with status %d; Ray restarts this worker", return_code)
        time.sleep(RESTART_DELAY_S)
        if not self._draining:
            os._exit(1)  # an orderly end would tell Ray not to restart it
