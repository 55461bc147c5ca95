"""Spans into OpenTelemetry, sent by OTLP over HTTP. Needs the extra `otel`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from api.instruments.traces import trace_ids
from backdrop import __version__

Attributes = Mapping[str, str | int]

_FLUSH_S = 2.0
_TIMEOUT_S = 2.0  # of one request to the collector


class _Ids(RandomIdGenerator):
    """Random ids, but for the root span that is being made."""

    def __init__(self) -> None:
        self._root: tuple[int, int] | None = None

    @contextlib.contextmanager
    def of_root(self, uid: str) -> Iterator[None]:
        """Within it, on one thread, the trace of task `uid` begins."""
        self._root = trace_ids(uid)
        try:
            yield
        finally:
            self._root = None

    def generate_trace_id(self) -> int:
        """For a span without a parent."""
        return super().generate_trace_id() if self._root is None else self._root[0]

    def generate_span_id(self) -> int:
        """For every span."""
        return super().generate_span_id() if self._root is None else self._root[1]


class Spans:
    """Takes finished spans and sends them from a thread of its own.

    Args:
        endpoint: base URL of the collector.
        service: `service.name` of the spans.
    """

    def __init__(self, endpoint: str, service: str) -> None:
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": service, "service.version": __version__}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        url = f"{endpoint.rstrip('/')}/v1/traces"
        exporter = OTLPSpanExporter(endpoint=url, timeout=_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("backdrop", __version__)

    def add(self, uid: str, name: str, begun: int, ended: int, attributes: Attributes) -> None:
        """A part of task `uid`, from `begun` to `ended` in Unix nanoseconds."""
        trace_id, span_id = trace_ids(uid)
        sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        root = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=sampled)
        parent = trace.set_span_in_context(trace.NonRecordingSpan(root))
        span = self._tracer.start_span(
            name, parent, attributes={"backdrop.task_uid": uid, **attributes}, start_time=begun
        )
        span.end(ended)

    def add_root(
        self, uid: str, begun: int, ended: int, attributes: Attributes, *, failed: bool
    ) -> None:
        """The task `uid` as a whole; call it on one thread only."""
        with self._ids.of_root(uid):
            span = self._tracer.start_span(
                "task", attributes={"backdrop.task_uid": uid, **attributes}, start_time=begun
            )
        if failed:
            span.set_status(trace.StatusCode.ERROR)
        span.end(ended)

    def close(self) -> None:
        """Send what is left, for a moment; a collector that is away must not hold up the end."""
        shutdown = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        shutdown.start()
        shutdown.join(_FLUSH_S)
