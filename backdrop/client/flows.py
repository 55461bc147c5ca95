"""Conversations with the server, without doing any of it.

Each is a generator that yields what is to be done, a request, a stream to follow or a pause, and
gets back what came of it. So `Client` and `AsyncClient` share every rule, and each only knows how to
send, how to read on and how to wait.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, TypeAlias, TypeVar

import httpx

from api.signing import sign
from backdrop.client.errors import (
    Busy,
    ClientError,
    ImageGone,
    TransportFault,
    UnexpectedAnswer,
    UnknownAction,
    refusal,
)
from backdrop.client.options import GenerateOptions, ImageSource, generate_fields
from backdrop.client.replies import Balance, ModelList, Task
from backdrop.client.waiting import SILENCE_S, OnProgress, Waiting

Result = TypeVar("Result")

TIMEOUT_S = 60.0
MAX_RETRIES = 5
RETRIED_STATUS = frozenset({429, 502, 503, 504})
FIRST_RETRY_S, MAX_RETRY_S = 0.5, 30.0
FIRST_POLL_S, MAX_POLL_S = 0.2, 2.0
# Raised before the request went out, so that to send it again cannot do anything twice.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Send:
    """Send this; POST where there is a body."""

    url: str
    json: Mapping[str, Any] | None = None

    @property
    def method(self) -> str:
        """Of HTTP."""
        return "GET" if self.json is None else "POST"


@dataclass(frozen=True, slots=True)
class Follow:
    """Read the stream of this URL, if there is one, until `hear` takes a piece and says enough.

    Its end is no fault, and neither is that it says nothing for `silence_s`.
    """

    url: str
    silence_s: float
    hear: Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ended(Generic[Result]):
    """The flow has ended with this."""

    result: Result


Step: TypeAlias = Send | Follow | Pause
# Of a `Send`; what came of the others the flow does not ask.
Reply: TypeAlias = httpx.Response | httpx.TransportError | None
Flow: TypeAlias = Generator[Step, Reply, Result]


class Conversation:
    """The flows of one key pair at one server.

    Args:
        base_url: of the server.
        public_key: of the caller.
        private_key: likewise; signs, and is never sent.
        max_retries: how often a request is sent again that the server did not take.
    """

    def __init__(
        self, base_url: str, public_key: str, private_key: str, *, max_retries: int
    ) -> None:
        self._url = base_url.rstrip("/") + "/"
        self._public_key = public_key
        self._private_key = private_key
        self._max_retries = max_retries
        self._has_no_streams = False  # as far as is known

    def call(self, action: str, fields: Mapping[str, Any]) -> Flow[dict[str, Any]]:
        """One action, with retries; the answer.

        Raises:
            ClientError: whatever came instead of a success.
        """
        body = self._signed(action, fields)
        # A lost answer to GenerateBackgrounds may have been that of a task that runs.
        repeatable = action != "GenerateBackgrounds"
        reply = yield from self._send(Send(self._url, body), repeatable=repeatable)
        return _answer(reply, action)

    def submit(self, foreground: ImageSource, options: GenerateOptions) -> Flow[str]:
        """A GenerateBackgrounds task; its TaskUID."""
        answer = yield from self.call("GenerateBackgrounds", generate_fields(foreground, options))
        return str(answer["TaskUID"])

    def task(self, uid: str) -> Flow[Task]:
        """One task."""
        (task,) = yield from self.tasks([uid])
        return task

    def tasks(self, uids: Sequence[str]) -> Flow[list[Task]]:
        """The tasks in the order of `uids`."""
        return _tasks((yield from self.call("ListTasksDetails", {"TaskUIDList": list(uids)})))

    def cancel(self, uids: Sequence[str]) -> Flow[list[Task]]:
        """The tasks in the order of `uids`, after they were asked to stop."""
        return _tasks((yield from self.call("CancelTask", {"TaskUIDList": list(uids)})))

    def wait(
        self, uid: str, *, on_progress: OnProgress | None, timeout_s: float | None
    ) -> Flow[Task]:
        """The task once it has finished.

        Follows the server's event stream. Where there is none, or none that says anything, it asks,
        the more seldom the longer nothing changes.

        Raises:
            TaskFailed: it ended as Error.
            WaitTimeout: it has not ended in time.
        """
        waiting = Waiting(uid, on_progress=on_progress, timeout_s=timeout_s)
        follows, poll_s = True, FIRST_POLL_S
        while True:
            task = yield from self.task(uid)
            poll_s = FIRST_POLL_S if waiting.see(task) else min(MAX_POLL_S, 1.5 * poll_s)
            if follows and waiting.may_follow:
                follows = yield from self._follow(waiting)
            if (ended := waiting.result()) is not None:
                return ended
            yield Pause(max(0.0, min(poll_s, waiting.left_s)))

    def images(self, task: Task) -> Flow[list[bytes]]:
        """The files behind the task's URLs.

        Raises:
            ImageGone: they have expired.
        """
        files = []
        for url in task.image_urls:
            files.append((yield from self._download(url)))
        return files

    def previews(self, uid: str) -> Flow[dict[int, bytes]]:
        """What the images of a running task look like so far."""
        answer = yield from self.call("GetTaskPreviews", {"TaskUID": uid})
        return {
            each["ImageIndex"]: base64.b64decode(each["Image"].partition(",")[2])
            for each in answer["PreviewList"]
        }

    def running(self) -> Flow[list[str]]:
        """Uids of the caller's tasks that have not ended."""
        answer = yield from self.call("ListRunningTasks", {})
        return list(answer["TaskUIDList"])

    def models(self) -> Flow[ModelList]:
        """Models that a request may name."""
        return ModelList.from_wire((yield from self.call("ListModels", {})))

    def balance(self) -> Flow[Balance]:
        """The caller's credits."""
        return Balance.from_wire((yield from self.call("GetCreditBalance", {})))

    def _follow(self, waiting: Waiting) -> Flow[bool]:
        """Follow the task's event stream; whether another one is worth it after this.

        A stream may break off: its URL expires after an hour, proxies and servers are restarted.
        """
        url = yield from self._events_url(waiting.task.uid)
        if url is None:
            return False
        waiting.begin_stream()
        yield Follow(url, SILENCE_S, waiting.hear)
        return waiting.was_heard

    def _events_url(self, uid: str) -> Flow[str | None]:
        """Where the task's events are; None where the server has none, for now or at all."""
        if self._has_no_streams:
            return None
        reply = yield Send(self._url, self._signed("WatchTask", {"TaskUID": uid}))
        try:
            return str(_answer(reply, "WatchTask")["EventsUrl"])
        except UnknownAction:  # the hosted API
            self._has_no_streams = True
        except (ClientError, KeyError):
            pass
        return None

    def _signed(self, action: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        return signed_body(action, fields, self._public_key, self._private_key)

    def _download(self, url: str) -> Flow[bytes]:
        response = _response((yield from self._send(Send(url), repeatable=True)))
        if response.status_code in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            raise ImageGone(f"HTTP status {response.status_code} for {url}")
        if not response.is_success:
            raise UnexpectedAnswer(response.status_code, response.text[:200])
        return response.content

    def _send(self, step: Send, *, repeatable: bool) -> Flow[Reply]:
        """What came of a request, sent again while that may help."""
        for attempt in range(self._max_retries):
            reply = yield step
            if not _may_help_to_repeat(reply, repeatable=repeatable):
                return reply
            yield Pause(_retry_delay_s(reply, attempt))
        return (yield step)


def signed_body(
    action: str, fields: Mapping[str, Any], public_key: str, private_key: str
) -> dict[str, Any]:
    """The request of an action as it is posted."""
    body = {"Action": action, "PublicKey": public_key, **fields}
    return {**body, "Signature": sign(body, private_key)}


def advance(flow: Flow[Result], reply: Reply) -> Step | Ended[Result]:
    """The flow's next step, or its end."""
    try:
        return flow.send(reply)
    except StopIteration as end:
        return Ended(end.value)


def _may_help_to_repeat(reply: Reply, *, repeatable: bool) -> bool:
    """Whether the server did not take a request; or nobody knows, and it does not matter."""
    if isinstance(reply, httpx.TransportError):
        return repeatable or isinstance(reply, _NOT_SENT)
    response = _response(reply)
    if response.status_code in RETRIED_STATUS:
        return True
    if "json" not in response.headers.get("Content-Type", ""):
        return False
    try:
        _answer(response, "")
    except Busy:
        return True
    except ClientError:
        return False
    return False


def _answer(reply: Reply, action: str) -> dict[str, Any]:
    response = _response(reply)
    try:
        answer = response.json()
        ret_code = answer["RetCode"]
    except (ValueError, KeyError, TypeError):
        raise UnexpectedAnswer(response.status_code, response.text[:200]) from None
    if ret_code != 0:
        raise refusal(action, ret_code, answer.get("Message", ""))
    return dict(answer)


def _tasks(answer: Mapping[str, Any]) -> list[Task]:
    return [Task.from_wire(detail) for detail in answer["TaskDetailList"]]


def _response(reply: Reply) -> httpx.Response:
    if isinstance(reply, httpx.TransportError):
        raise TransportFault(str(reply) or type(reply).__name__) from reply
    assert reply is not None, "a request is answered by a response or an error"
    return reply


def _retry_delay_s(reply: Reply, attempt: int) -> float:
    """What the server asks for, else longer each time; spread, so that clients do not march."""
    if isinstance(reply, httpx.Response):
        asked = reply.headers.get("Retry-After", "")
        if asked.isdecimal():
            return min(MAX_RETRY_S, float(asked))
    return min(MAX_RETRY_S, FIRST_RETRY_S * 2.0**attempt) * random.uniform(0.75, 1.25)
