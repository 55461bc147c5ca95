"""Counts and times every request, and gives what answers it a place to say what it was."""

from __future__ import annotations

import logging
import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.actions import ACTIONS
from api.errors import GATEWAY_FAULT
from api.instruments import metrics as m
from api.instruments.context import Call, in_call
from api.instruments.traces import TaskTraces

logger = logging.getLogger(__name__)

OTHER = "other"  # whatever callers make up must not become a series each
RESULT_IMAGE = "result image"
_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CRASHED = 500
_COUNTED_PREFIX = "/results/"


class HttpMetrics:
    """The series of this process.

    Args:
        registry: gets them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        requests, seconds = m.HTTP_REQUESTS, m.HTTP_SECONDS
        self._requests = Counter(
            requests.name, f"{requests.meaning}.", requests.labels, registry=registry
        )
        self._seconds = Histogram(
            seconds.name,
            f"{seconds.meaning}.",
            seconds.labels,
            registry=registry,
            buckets=_BOUNDS_S,
        )

    def answered(self, action: str, ret_code: int | None, status: int, seconds: float) -> None:
        """One more."""
        code = "" if ret_code is None else str(ret_code)
        self._requests.labels(action, code, str(status)).inc()
        self._seconds.labels(action).observe(seconds)


class InstrumentedApp:
    """ASGI middleware. Probes and pages are neither counted nor timed.

    Args:
        app: the application.
        metrics: gets counts and times.
        traces: gets the submission of each task; None where traces are off.
    """

    def __init__(self, app: ASGIApp, metrics: HttpMetrics, traces: TaskTraces | None) -> None:
        self._app = app
        self._metrics = metrics
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        kind = _kind(scope)
        if kind is None:
            await self._app(scope, receive, send)
            return
        status = _CRASHED

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        begun = time.perf_counter()
        with in_call() as call:
            try:
                await self._app(scope, receive, noting)
            except Exception as exc:  # answered, and its traceback logged, further out
                call.ret_code = GATEWAY_FAULT
                logger.error("a request crashed: %s", type(exc).__name__)
                raise
            finally:
                action = kind or _action(call)
                seconds = time.perf_counter() - begun
                self._metrics.answered(action, call.ret_code, status, seconds)
                if self._traces is not None and call.task_uid:
                    self._traces.submitted(call)


def _kind(scope: Scope) -> str | None:
    """What a request is counted as; "" for its own action, None for not at all."""
    if scope["type"] != "http":
        return None
    if scope["path"].startswith(_COUNTED_PREFIX):
        return RESULT_IMAGE
    return "" if scope["path"] == "/" else None


def _action(call: Call) -> str:
    return call.action if call.action in ACTIONS else OTHER
