"""Rows 6 and 21: how long a request waits to begin, and how soon a cancelled one makes room."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

from api.store import SqlTaskStore
from api.tasks import TaskRecord, TaskStatus
from scripts.benchmark.bench import Bench
from scripts.benchmark.child import ComputeChild
from scripts.benchmark.client import PATIENCE_S, Client
from scripts.benchmark.pairs import spread
from scripts.benchmark.row import Limit, Measure, Row
from scripts.benchmark.server import PUBLIC_KEY, serving
from scripts.benchmark.workload import Request, request_of

_LONG_STEPS = 100
_LOOK_S = 0.001


def waiting(bench: Bench) -> Sequence[Measure]:
    """Row 6.

    The store tells when a task was stored and when its worker took it; the compute child's own
    messages tell how long it is from there to the first step.
    """
    shape = bench.shape("M")
    with serving(bench, "M", BACKDROP_MAX_TASKS_PER_WORKER="16") as server:
        client, store = server.client(), server.store()
        lone = [
            _claim_wait_s(client, store, request_of(shape, index, num_steps=6))
            for index in range(bench.sizes.rounds)
        ]
        long_uid = client.submit(client.generate_body(request_of(shape, num_steps=_LONG_STEPS)))
        _until(lambda: _record(store, long_uid).status is TaskStatus.RUNNING)
        busy = []
        for index in range(bench.sizes.rounds):
            if _record(store, long_uid).status is not TaskStatus.RUNNING:
                break
            busy.append(_claim_wait_s(client, store, request_of(shape, index, num_steps=6)))
        store.close()
        client.close()
    steps = _steps_to_first(bench, median(busy))
    return [
        Measure(
            "added wait of a lone request",
            1000 * median(lone),
            "ms",
            Limit(5, 1),
            1000 * spread(lone),
            {"s": lone},
            "from the stored task to its claim by the idle worker",
        ),
        Measure(
            "arrival to first step when busy",
            median(steps),
            "steps",
            Limit(2, 1.2),
            spread(steps),
            {"steps": steps, "claim_s": busy},
            "claim by the busy worker, then what the compute child takes to begin the first step "
            "beside a running picture; in steps of both together",
        ),
    ]


def _claim_wait_s(client: Client, store: SqlTaskStore, request: Request) -> float:
    uid = client.submit(client.generate_body(request))
    client.wait(uid, poll_s=0.02)
    record = _record(store, uid)
    assert record.started_at is not None
    return record.started_at - record.created_at


def _steps_to_first(bench: Bench, claim_s: float) -> list[float]:
    """Steps from arrival to the begin of the first, for pictures that join a running one."""
    shape = bench.shape("M")
    steps = []
    with ComputeChild(bench.model_folder("M").parent) as child:
        for index in range(bench.sizes.rounds):
            child.add("long", request_of(shape, num_steps=_LONG_STEPS))
            child.until_progress("long")
            time.sleep(0.05 * (index % 3))  # arrive at different moments of a step
            arrived = time.monotonic()
            child.add("late", request_of(shape, index + 1, num_steps=_LONG_STEPS))
            first = child.until_progress("late")
            after = child.until_progress("late")
            step_s = (after.at - first.at) / (
                (after.message.progress - first.message.progress) * _LONG_STEPS
            )
            done = first.message.progress * _LONG_STEPS
            steps.append((claim_s + first.at - arrived) / step_s - done)
            child.cancel("late")
            child.cancel("long")
    return steps


def cancelling(bench: Bench) -> Sequence[Measure]:
    """Row 21: from the wish to cancel, stored, to the store's word that the worker let go."""
    shape = bench.shape("M")
    waits, step_s = [], _step_s(bench)
    with serving(bench, "M") as server:
        client, store = server.client(), server.store()
        for index in range(bench.sizes.rounds):
            uid = client.submit(
                client.generate_body(request_of(shape, index, num_steps=_LONG_STEPS))
            )
            _until(lambda uid=uid: _record(store, uid).progress > 0)
            asked = time.monotonic()
            store.cancel(uid, tenant=PUBLIC_KEY)
            _until(lambda uid=uid: _record(store, uid).status is TaskStatus.CANCELED)
            waits.append(time.monotonic() - asked)
        store.close()
        client.close()
    return [
        Measure(
            "cancel to worker free, beyond one step",
            1000 * (median(waits) - step_s),
            "ms",
            Limit(100, 10),
            1000 * spread(waits),
            {"s": waits, "step_s": [step_s]},
            f"one step takes {1000 * step_s:.0f} ms",
        )
    ]


def _step_s(bench: Bench) -> float:
    """Seconds of one guided step of a lone picture in the compute child."""
    with ComputeChild(bench.model_folder("M").parent) as child:
        child.add("alone", request_of(bench.shape("M"), num_steps=_LONG_STEPS))
        first = child.until_progress("alone")
        for _ in range(3):
            last = child.until_progress("alone")
        child.cancel("alone")
        done = (last.message.progress - first.message.progress) * _LONG_STEPS
        return (last.at - first.at) / done


def _record(store: SqlTaskStore, uid: str) -> TaskRecord:
    record = store.get(uid)
    assert record is not None
    return record


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not get there")
        time.sleep(_LOOK_S)


ROWS = (
    Row(6, "waiting of a request", waiting, "M"),
    Row(21, "cancelling", cancelling, "M"),
)
