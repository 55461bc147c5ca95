"""The blocking client."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, Unpack

import httpx

from backdrop.client.files import write_files
from backdrop.client.flows import (
    MAX_RETRIES,
    TIMEOUT_S,
    Conversation,
    Ended,
    Flow,
    Follow,
    Pause,
    Reply,
    Result,
    Send,
    Step,
    advance,
)
from backdrop.client.options import GenerateOptions, ImageSource
from backdrop.client.replies import Balance, ModelList, Task
from backdrop.client.waiting import OnProgress


class Client:
    """One key pair at one server. Safe to share between threads.

    Requests that the server did not take (no connection, HTTP 429, 502, 503 or 504, RetCode 2001)
    are sent again, after the time its Retry-After names; queries also where the answer got lost.

    Args:
        base_url: such as "http://127.0.0.1:8600".
        public_key: of the key pair.
        private_key: signs requests and is never sent.
        timeout_s: of each step of a request, as httpx counts it.
        max_retries: how often a request is sent again.
        http: used instead of a client of its own, and left open; `timeout_s` is then unused.
    """

    def __init__(
        self,
        base_url: str,
        public_key: str,
        private_key: str,
        *,
        timeout_s: float = TIMEOUT_S,
        max_retries: int = MAX_RETRIES,
        http: httpx.Client | None = None,
    ) -> None:
        self._talk = Conversation(base_url, public_key, private_key, max_retries=max_retries)
        self._owns_http = http is None
        self._http = httpx.Client(timeout=timeout_s) if http is None else http

    def close(self) -> None:
        """Close the connections."""
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def call(self, action: str, **fields: Any) -> dict[str, Any]:
        """Any action of the protocol with fields as on the wire; its answer.

        Raises:
            ClientError: whatever came instead of a success, as in all other methods.
        """
        return self._run(self._talk.call(action, fields))

    def submit(self, foreground: ImageSource, **options: Unpack[GenerateOptions]) -> str:
        """Have backgrounds painted around `foreground`; the TaskUID.

        Args:
            foreground: the item to keep, with alpha: path, bytes of a file, or PIL image.
            **options: see `GenerateOptions`.

        Raises:
            OSError: a file cannot be read.
        """
        return self._run(self._talk.submit(foreground, options))

    def task(self, uid: str) -> Task:
        """State and results of a task."""
        return self._run(self._talk.task(uid))

    def tasks(self, uids: Sequence[str]) -> list[Task]:
        """State and results of up to 1,000 tasks, in order."""
        return self._run(self._talk.tasks(uids))

    def wait(
        self,
        uid: str,
        *,
        on_progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> Task:
        """The task once it has finished.

        Follows the event stream of a server that has one, and asks now and then where it does not:
        the hosted API, a stream that breaks or stays silent, or the last 20 s of `timeout_s`.

        Args:
            uid: TaskUID.
            on_progress: called with the task whenever it has changed.
            timeout_s: how long to wait; None for as long as it takes.

        Raises:
            TaskFailed: it ended as Error.
            WaitTimeout: it has not ended in time.
        """
        return self._run(self._talk.wait(uid, on_progress=on_progress, timeout_s=timeout_s))

    def images(self, task: Task) -> list[bytes]:
        """The PNG files of the results.

        Raises:
            ImageGone: they have expired.
        """
        return self._run(self._talk.images(task))

    def save(self, task: Task, folder: str | os.PathLike[str] = ".") -> list[Path]:
        """Write the results to `folder`, which is made, as <TaskUID>-<index>.png; their paths.

        Raises:
            ImageGone: they have expired.
            OSError: a file cannot be written.
        """
        return write_files(task, self.images(task), Path(folder))

    def cancel(self, *uids: str) -> list[Task]:
        """Stop tasks; their state after it. A running one stops at its next step."""
        return self._run(self._talk.cancel(uids))

    def previews(self, uid: str) -> dict[int, bytes]:
        """What a running task's images look like so far, as small PNG files by their position.

        Of tasks submitted with `preview`; an addition of Backdrop's that the hosted API lacks.
        """
        return self._run(self._talk.previews(uid))

    def running(self) -> list[str]:
        """Uids of tasks that have not ended, oldest first."""
        return self._run(self._talk.running())

    def models(self) -> ModelList:
        """Models that a request may name."""
        return self._run(self._talk.models())

    def balance(self) -> Balance:
        """Credits that are left."""
        return self._run(self._talk.balance())

    def _run(self, flow: Flow[Result]) -> Result:
        step = advance(flow, None)
        while not isinstance(step, Ended):
            step = advance(flow, self._do(step))
        return step.result

    def _do(self, step: Step) -> Reply:
        try:
            match step:
                case Pause():
                    time.sleep(step.seconds)
                case Follow():
                    self._follow(step)
                case Send():
                    return self._http.request(step.method, step.url, json=step.json)
        except httpx.TransportError as exc:
            return exc
        return None

    def _follow(self, step: Follow) -> None:
        with self._http.stream("GET", step.url, timeout=step.silence_s) as response:
            if response.status_code == HTTPStatus.OK:
                for chunk in response.iter_bytes():
                    if step.hear(chunk):
                        return
