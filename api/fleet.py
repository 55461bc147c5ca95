"""Keeps one supervisor process running on every device."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api.settings import Settings
from api.supervisor import start_supervisor

logger = logging.getLogger(__name__)

FIRST_DELAY_S, MAX_DELAY_S = 0.5, 30.0
STEADY_S = 60.0  # a supervisor that ran so long is restarted without delay
STOP_TIMEOUT_S = 10.0  # beyond what it may drain

Starter = Callable[[Settings, str], "subprocess.Popen[bytes]"]


@dataclass(slots=True)
class _Post:
    """One device and the supervisor that stands there."""

    device: str
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    delay_s: float = 0.0
    start_at: float = 0.0


class Fleet:
    """Supervisors of several devices. Use it in the main thread (see `start_supervisor`).

    Args:
        settings: handed to every supervisor.
        devices: one supervisor each.
        start: makes the process of one device.
    """

    def __init__(
        self, settings: Settings, devices: Sequence[str], *, start: Starter = start_supervisor
    ) -> None:
        self._settings = settings
        self._start = start
        self._posts = [_Post(device) for device in devices]

    @property
    def pids(self) -> list[int]:
        """Process ids of the supervisors that were last seen running."""
        return [post.process.pid for post in self._posts if post.process is not None]

    def tend(self) -> None:
        """Start what is missing; one that keeps dying waits longer each time. Call it often."""
        now = time.monotonic()
        for post in self._posts:
            if post.process is not None and post.process.poll() is not None:
                self._ended(post, post.process.returncode, now)
            if post.process is None and now >= post.start_at:
                post.process = self._start(self._settings, post.device)
                post.started_at = now

    def stop(self) -> None:
        """End all supervisors in good order; those that do not end in time are killed."""
        running = [post.process for post in self._posts if post.process is not None]
        end_processes(running, timeout_s=self._settings.drain_s + STOP_TIMEOUT_S)
        for post in self._posts:
            post.process = None

    @staticmethod
    def _ended(post: _Post, return_code: int, now: float) -> None:
        steady = now - post.started_at >= STEADY_S
        post.delay_s = 0.0 if steady else min(MAX_DELAY_S, max(FIRST_DELAY_S, 2 * post.delay_s))
        post.process = None
        post.start_at = now + post.delay_s
        logger.error(
            "the supervisor of %s ended with status %d; the next starts in %.1f s",
            post.device,
            return_code,
            post.delay_s,
        )


def end_processes(supervisors: Sequence[subprocess.Popen[bytes]], *, timeout_s: float) -> None:
    """Have supervisors give their tasks back and end; those that do not in time are killed."""
    for process in supervisors:
        process.terminate()
    deadline = time.monotonic() + timeout_s
    for process in supervisors:
        try:
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.warning("supervisor %d does not end; killing it", process.pid)
            process.kill()
            process.wait()
