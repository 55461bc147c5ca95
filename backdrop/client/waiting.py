"""A task that is waited for: what was seen of it last, who is told, and how long it may take."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import TypeAlias

from backdrop.client.errors import WaitTimeout, failure
from backdrop.client.events import Event, EventReader
from backdrop.client.replies import Task

# A server lets a stream be silent for 15 s. Where less time is left than this, a silent one could
# outlast it: then the rest is polled.
SILENCE_S = 20.0

OnProgress: TypeAlias = Callable[[Task], object]


class Waiting:
    """One call of `wait`, from its beginning.

    Args:
        uid: of the task.
        on_progress: told of every change; None for nobody.
        timeout_s: how long it may take; None for ever.

    Attributes:
        task: as last seen; without a status until it was.
        was_heard: whether the last stream said something of it.
    """

    def __init__(
        self, uid: str, *, on_progress: OnProgress | None, timeout_s: float | None
    ) -> None:
        self.task = Task(uid, status="")
        self.was_heard = False
        self._on_progress = on_progress
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        self._until = time.monotonic() + self._timeout_s
        self._reader = EventReader()

    @property
    def left_s(self) -> float:
        """Time that is left; below 0 once it is over."""
        return self._until - time.monotonic()

    @property
    def may_follow(self) -> bool:
        """Whether it goes on, for longer than a stream may be silent."""
        return not self.task.has_ended and self.left_s > SILENCE_S

    def see(self, task: Task) -> bool:
        """Takes the task as it is now; whether it has changed."""
        if task == self.task:
            return False
        self.task = task
        if self._on_progress is not None:
            self._on_progress(task)
        return True

    def begin_stream(self) -> None:
        """What `hear` gets next is the beginning of a stream."""
        self._reader = EventReader()
        self.was_heard = False

    def hear(self, chunk: bytes) -> bool:
        """Takes a piece of the stream; whether that is enough of it."""
        try:
            told = [self._told(event) for event in self._reader.read(chunk)]
        except (ValueError, KeyError, TypeError):  # something else that answers in its place
            self.was_heard = False
            return True
        for task in told:
            if task is not None:
                self.was_heard = True
                self.see(task)
        return not self.may_follow

    def result(self) -> Task | None:
        """The task if it has finished, None while it may still.

        Raises:
            TaskFailed: it ended as Error.
            WaitTimeout: no time is left.
        """
        if self.task.is_error:
            raise failure(self.task)
        if self.task.has_ended:
            return self.task
        if self.left_s <= 0:
            raise WaitTimeout(self.task, self._timeout_s)
        return None

    def _told(self, event: Event) -> Task | None:
        """The task as an event tells it; None for one that tells nothing."""
        if event.name not in ("progress", "end"):
            return None
        seen = Task.from_wire(json.loads(event.data))
        if seen.uid != self.task.uid:
            raise ValueError("of another task")
        if event.name == "end":
            return seen
        return None if seen.has_ended else self.task.advanced(seen)
