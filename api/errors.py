"""Errors of the service and the one table from exception class to RetCode (protocol section 7, 10).

::

    ApiError
      ServiceUnavailable        150   our fault
      Throttled                 153   the key calls too often
      MissingAction             160
      UnknownAction             161
      MissingSignature          170
      BadSignature              171
      UnknownUser               172
      MissingParameter          220   names the field
      MalformedRequest          230   names the field
      TooFewCredits             1201
      ModelNotFound             1202
      QueueFull                 2001  retry later
    TaskStoreError
      IllegalMove               a state change the task's state does not allow
      LeaseLost                 the task has another owner by now
      StoreUnavailable          database locked, full or unreachable: try again later
"""

from __future__ import annotations

RETRY_AFTER_S = 5
GATEWAY_FAULT = 130  # RetCode of a crash


class ApiError(Exception):
    """A request that is answered with a RetCode other than 0.

    Attributes:
        ret_code: the protocol's number.
        message: the protocol's `Message`.
        retry_after_s: goes into the Retry-After header; None for no such header.
    """

    ret_code: int

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class ServiceUnavailable(ApiError):
    """The request is fine, but this server cannot do it; its log says why."""

    ret_code = 150

    def __init__(self) -> None:
        super().__init__("The service cannot do this for now, try again later")


class Throttled(ApiError):
    """The key calls more often than it may."""

    ret_code = 153

    def __init__(self, *, retry_after_s: int) -> None:
        super().__init__("Too many requests, try again later", retry_after_s=retry_after_s)


class MissingAction(ApiError):
    """The body has no `Action`."""

    ret_code = 160

    def __init__(self) -> None:
        super().__init__("Missing Action")


class UnknownAction(ApiError):
    """No such action."""

    ret_code = 161

    def __init__(self, action: str) -> None:
        super().__init__(f"Action [{action}] not found")


class MissingSignature(ApiError):
    """The body has no `Signature`."""

    ret_code = 170

    def __init__(self) -> None:
        super().__init__("Missing Signature")


class BadSignature(ApiError):
    """The signature does not match the body and the key."""

    ret_code = 171

    def __init__(self) -> None:
        super().__init__("Signature VerifyAC Error")


class UnknownUser(ApiError):
    """No key pair with that public key."""

    ret_code = 172

    def __init__(self) -> None:
        super().__init__("User Not Exists")


class MissingParameter(ApiError):
    """A required parameter is absent."""

    ret_code = 220

    def __init__(self, field: str) -> None:
        super().__init__(f"Missing params [{field}]")


class MalformedRequest(ApiError):
    """A parameter has the wrong type, range or content."""

    ret_code = 230

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"Params [{field}] not available: {reason}")


class TooFewCredits(ApiError):
    """The key's balance does not cover the task."""

    ret_code = 1201


class ModelNotFound(ApiError):
    """A ModelCode names no registered main model or sub-model."""

    ret_code = 1202

    def __init__(self, model_code: str) -> None:
        super().__init__(f"Model [{model_code}] not found")


class QueueFull(ApiError):
    """The service takes no more for now."""

    ret_code = 2001

    def __init__(
        self,
        message: str = "The service is busy, try again later",
        *,
        retry_after_s: int = RETRY_AFTER_S,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


# ErrorCode of a finished task (protocol section 10).
TASK_UNKNOWN = 1203
TASK_IMAGE_UNDECODABLE = 1204
TASK_GENERATION_FAILED = 1205
TASK_CANCELED = 1206
TASK_EXPIRED = 1207


class TaskStoreError(Exception):
    """Base of the store's own errors.

    Attributes:
        begins_outage: the first since the database last worked, whose traceback is worth a look.
    """

    begins_outage = False


class IllegalMove(TaskStoreError):
    """The task's state does not allow the change."""


class LeaseLost(TaskStoreError):
    """The caller no longer owns the task; its result must be dropped."""


class StoreUnavailable(TaskStoreError):
    """The database is locked, full or cannot be reached; try again later."""
