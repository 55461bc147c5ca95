"""What can go wrong in a client.

::

    ClientError
      TransportFault            no answer: connection, timeout
      UnexpectedAnswer          an answer that is none of the protocol's
      ImageGone                 a result URL that gives nothing any more
      WaitTimeout               the task has not ended in time; it still may
      RequestRefused            RetCode other than 0
        ServerUnavailable       110, 130, 150
        Busy                    153, 2001
        UnknownAction           160, 161
        BadSignature            170, 171
        UnknownKey              172
        MissingParameter        220
        ParameterRefused        230
        NotEnoughCredits        1201
        ModelNotFound           1202
      TaskFailed                a task that ended as Error
        TaskNotFound            1203
        ImageUndecodable        1204
        GenerationFailed        1205
        TaskCanceled            1206
        TaskExpired             1207
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backdrop.client.replies import Task


class ClientError(Exception):
    """Base of all errors of the client."""


class TransportFault(ClientError):
    """No answer, after all retries that were safe; `__cause__` is httpx's error."""


class UnexpectedAnswer(ClientError):
    """An answer that is not the protocol's.

    Attributes:
        status_code: HTTP status.
    """

    def __init__(self, status_code: int, text: str) -> None:
        super().__init__(f"HTTP status {status_code}: {text}")
        self.status_code = status_code


class ImageGone(ClientError):
    """A result URL gives nothing: images are kept for a day by default."""


class WaitTimeout(ClientError):
    """The task has not ended in time; wait again, or cancel it.

    Attributes:
        task: as last seen.
    """

    def __init__(self, task: Task, timeout_s: float) -> None:
        super().__init__(f"task {task.uid} is {task.status} after {timeout_s:g} s")
        self.task = task


class RequestRefused(ClientError):
    """The server answered with a RetCode other than 0.

    Attributes:
        ret_code: the protocol's number.
        message: the server's text.
    """

    def __init__(self, action: str, ret_code: int, message: str) -> None:
        super().__init__(f"{action}: {message} (RetCode {ret_code})")
        self.ret_code = ret_code
        self.message = message


class ServerUnavailable(RequestRefused):
    """The request may be fine, the server cannot answer it."""


class Busy(RequestRefused):
    """The server takes no more for now, and did not for all retries."""


class UnknownAction(RequestRefused):
    """The server has no such action."""


class BadSignature(RequestRefused):
    """The private key does not fit the public one."""


class UnknownKey(RequestRefused):
    """The server does not know the public key."""


class MissingParameter(RequestRefused):
    """A required field is absent; the message names it."""


class ParameterRefused(RequestRefused):
    """A field has the wrong type, range or content; the message names it."""


class NotEnoughCredits(RequestRefused):
    """The task would cost more than is left."""


class ModelNotFound(RequestRefused):
    """The server offers no such model."""


class TaskFailed(ClientError):
    """A task ended as Error.

    Attributes:
        task: with what there is of its images.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(f"task {task.uid}: {task.error_text} (ErrorCode {task.error_code})")
        self.task = task


class TaskNotFound(TaskFailed):
    """No such task, or somebody else's."""


class ImageUndecodable(TaskFailed):
    """The worker could not decode an image."""


class GenerationFailed(TaskFailed):
    """At least one image could not be painted."""


class TaskCanceled(TaskFailed):
    """The task was canceled."""


class TaskExpired(TaskFailed):
    """The task waited too long for its turn."""


REFUSALS: Mapping[int, type[RequestRefused]] = {
    110: ServerUnavailable,
    130: ServerUnavailable,
    150: ServerUnavailable,
    153: Busy,
    160: UnknownAction,
    161: UnknownAction,
    170: BadSignature,
    171: BadSignature,
    172: UnknownKey,
    220: MissingParameter,
    230: ParameterRefused,
    1201: NotEnoughCredits,
    1202: ModelNotFound,
    2001: Busy,
}
FAILURES: Mapping[int, type[TaskFailed]] = {
    1203: TaskNotFound,
    1204: ImageUndecodable,
    1205: GenerationFailed,
    1206: TaskCanceled,
    1207: TaskExpired,
}


def refusal(action: str, ret_code: int, message: str) -> RequestRefused:
    """The error of a RetCode."""
    return REFUSALS.get(ret_code, RequestRefused)(action, ret_code, message)


def failure(task: Task) -> TaskFailed:
    """The error of a task that ended as Error."""
    return FAILURES.get(task.error_code, TaskFailed)(task)
