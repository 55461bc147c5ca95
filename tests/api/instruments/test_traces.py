"""Traces as a real collector gets them, from a real application and real supervisors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pydantic import ValidationError

from api import process
from api.instruments.traces import trace_ids
from api.settings import Settings
from api.tasks import Claimant
from tests.api.bench import Bench
from tests.api.instruments.collector import Collector, collecting
from tests.api.supervised import ROOT, stand_ins

RUN = ["claim", "prepare", "steps", "finish", "publish"]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def attributes(span: Span) -> dict[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def assert_one_trace(collector: Collector, uid: str) -> None:
    """All spans are of the task's trace, and all but the root lie under it."""
    trace_id, root_id = trace_ids(uid)
    for _, span in collector.spans:
        assert int.from_bytes(span.trace_id) == trace_id
        assert attributes(span)["backdrop.task_uid"] == uid
        parent = int.from_bytes(span.parent_span_id)
        assert (span.name == "task") == (parent == 0)
        assert (int.from_bytes(span.span_id) == root_id) == (span.name == "task")
        assert parent in (0, root_id)
        assert span.start_time_unix_nano <= span.end_time_unix_nano
    assert len({span.span_id for _, span in collector.spans}) == len(collector.spans)


def test_a_task_is_one_trace_from_queue_to_publish(make_service, collector):
    service = make_service(otlp_endpoint=collector.endpoint)
    uid = service.put(finish_s=0.3)
    with service.supervisor():
        service.wait(uid)

    assert_one_trace(collector, uid)
    assert {name for name, _ in collector.spans} == {"backdrop-worker"}
    assert sorted(collector.names()) == sorted(["task", "queue", *RUN])
    parts = [collector.named(name) for name in ["queue", *RUN]]
    for before, after in pairwise(parts):
        assert before.end_time_unix_nano == after.start_time_unix_nano
    finish = collector.named("finish")
    assert finish.end_time_unix_nano - finish.start_time_unix_nano > 0.25e9
    root = collector.named("task")
    assert attributes(root)["backdrop.status"] == "succeeded"
    assert root.status.code == Status.STATUS_CODE_UNSET
    assert root.start_time_unix_nano <= parts[0].start_time_unix_nano
    assert root.end_time_unix_nano >= parts[-1].end_time_unix_nano


def test_the_submission_joins_the_same_trace(tmp_path: Path, collector):
    bench = Bench(tmp_path, otlp_endpoint=collector.endpoint)
    uid = bench.submit(request_uuid="q-1")
    bench.detail(uid)
    bench.app.state.instruments.close()

    assert_one_trace(collector, uid)
    ((service, span),) = collector.spans
    assert (service, span.name) == ("backdrop-api", "submit")
    assert attributes(span)["backdrop.request_uuid"] == "q-1"


def test_a_run_that_crashed_is_told_beside_the_next(make_service, collector):
    service = make_service(otlp_endpoint=collector.endpoint)
    uid = service.put(num_images=2, pause_s=0.3)
    with service.supervisor():
        service.until(lambda: len(service.output_files()) == 1)
        (child,) = stand_ins()
        os.kill(child, signal.SIGKILL)
        service.wait(uid)

    assert_one_trace(collector, uid)
    claims = [attributes(span) for _, span in collector.spans if span.name == "claim"]
    assert sorted(each["backdrop.attempt"] for each in claims) == [1, 2]
    assert collector.names().count("queue") == collector.names().count("task") == 1


def test_a_failed_task_is_an_error(make_service, collector):
    service = make_service(otlp_endpoint=collector.endpoint)
    uid = service.put("bad_image")
    with service.supervisor():
        service.wait(uid)
    root = collector.named("task")
    assert root.status.code == Status.STATUS_CODE_ERROR
    assert attributes(root)["backdrop.status"] == "failed"


def test_the_task_of_a_lost_worker_ends_its_trace_all_the_same(make_service, collector):
    service = make_service(otlp_endpoint=collector.endpoint, lease_s=0.6, max_attempts=1)
    uid = service.put()
    service.store.claim(Claimant("gone"), limit=1, lease_s=0.01)
    with service.supervisor():
        service.wait(uid)
    assert collector.names() == ["task"]
    assert_one_trace(collector, uid)


def test_a_collector_that_is_away_holds_nothing_up(make_service):
    service = make_service(otlp_endpoint="http://127.0.0.1:9")
    uid = service.put()
    with service.supervisor():
        service.wait(uid)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5


def test_neither_sdk_nor_exporter_is_imported_where_traces_are_off():
    program = (
        "import sys; from api.instruments import api, traces; from api.settings import Settings\n"
        "assert traces.open_traces(Settings(), 'x') is None\n"
        "sys.exit(any(f'opentelemetry.{part}' in sys.modules for part in ('sdk', 'exporter')))"
    )
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def test_traces_without_the_extra_are_refused_at_the_start(monkeypatch: pytest.MonkeyPatch):
    assert not process.is_installed("opentelemetry.exporter.nothing.there")
    assert not process.is_installed("nothing.there")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(ValidationError, match=r"backdrop\[otel\]"):
        Settings(otlp_endpoint="http://localhost:4318")
    with pytest.raises(ValidationError, match="otlp_endpoint"):
        Settings(otlp_endpoint="localhost:4318")
