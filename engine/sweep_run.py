"""Runs the points of a sweep on an engine; those of one checkpoint share their forwards."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

from engine.errors import EngineError
from engine.events import Event, ImageDone, ImageFailed, StepDone
from engine.job import GeneratedImage, GenerationJob
from engine.sweep import Axis, SweepPoint, plan_sweep

if TYPE_CHECKING:
    from engine.engine import Engine

MAX_IN_FLIGHT = 32  # enough to fill every forward, few enough to lose little when stopped


@dataclass(frozen=True, slots=True, eq=False)
class PointStep:
    """A point advanced to `step` of `num_steps` UNet forwards (1-based, over all passes)."""

    point: SweepPoint
    step: int
    num_steps: int


@dataclass(frozen=True, slots=True, eq=False)
class PointDone:
    """A point is painted.

    Attributes:
        point: which.
        image: equal to that of its job alone, within law 3.
        seconds: its share of the time the steps took: that of a forward is split evenly among the
            points in it. Loading, encoding and decoding run beside the steps and are not in it. On
            a device that works behind the calls it is right on average, not for each point.
    """

    point: SweepPoint
    image: GeneratedImage
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class PointFailed:
    """A point ended without a picture; the others are unharmed."""

    point: SweepPoint
    error: EngineError


SweepResult: TypeAlias = PointDone | PointFailed
SweepEvent: TypeAlias = PointStep | SweepResult


def run_sweep(
    engine: Engine,
    job: GenerationJob,
    axes: Sequence[Axis],
    *,
    max_in_flight: int = MAX_IN_FLIGHT,
    on_event: Callable[[SweepEvent], None] | None = None,
) -> Generator[SweepResult, None, None]:
    """Paints `job` at every combination of the axes' values.

    All points are checked at once; the painting goes on while the results are read, and ends when
    the iterator is closed. Results come in the order of the axes' values, the last axis running
    fastest, but those of one checkpoint together; that order is the same in every run.

    Args:
        engine: idle.
        job: what all points start from; one image.
        axes: one to three.
        max_in_flight: points the engine holds at a time, with those that wait for their turn.
        on_event: sees every event as it comes, for a progress bar.

    Raises:
        JobError: a point cannot be done as asked; the message names axis and value.
        ValueError: the axes themselves are wrong, or `max_in_flight` is below 1.
        RuntimeError: the engine is already running jobs.
    """
    if max_in_flight < 1:
        raise ValueError(f"max_in_flight is {max_in_flight}, not at least 1")
    plan = plan_sweep(job, axes, engine.registry)
    _require_idle(engine)
    return _results(engine, plan.points, max_in_flight, on_event)


def run_points(
    engine: Engine,
    points: Sequence[SweepPoint],
    *,
    max_in_flight: int = MAX_IN_FLIGHT,
    in_order: bool = False,
) -> Generator[SweepEvent, None, None]:
    """Paints points of a sweep, one checkpoint after the other.

    Args:
        engine: idle; what is left of the sweep is cancelled when the iterator is closed.
        points: of one plan.
        max_in_flight: points the engine holds at a time, with those that wait for their turn.
        in_order: holds results back until it is their turn; else they come as they end.

    Raises:
        RuntimeError: the engine is running other jobs.
    """
    _require_idle(engine)
    order = list(dict.fromkeys(point.plan.model_key for point in points))
    grouped = sorted(points, key=lambda point: order.index(point.plan.model_key))
    for _, group in groupby(grouped, key=lambda point: point.plan.model_key):
        yield from _run_group(engine, list(group), max_in_flight, _Turns(in_order=in_order))


def _results(
    engine: Engine,
    points: Sequence[SweepPoint],
    max_in_flight: int,
    on_event: Callable[[SweepEvent], None] | None,
) -> Generator[SweepResult, None, None]:
    events = run_points(engine, points, max_in_flight=max_in_flight, in_order=True)
    with closing(events):
        for event in events:
            if on_event is not None:
                on_event(event)
            if not isinstance(event, PointStep):
                yield event


def _require_idle(engine: Engine) -> None:
    if engine.busy:
        raise RuntimeError("a sweep needs an idle engine")


def _run_group(
    engine: Engine, points: Sequence[SweepPoint], max_in_flight: int, turns: _Turns
) -> Iterator[SweepEvent]:
    waiting, flying = deque(points), dict[str, SweepPoint]()
    clock = _SharedClock()
    turns.expect(points)
    try:
        while waiting or flying:
            while waiting and len(flying) + turns.num_held < max_in_flight:
                point = waiting.popleft()
                try:
                    engine.add(point.job)
                except EngineError as exc:  # a file has changed since the plan
                    yield from turns.ended(PointFailed(point, exc))
                else:
                    flying[point.job.job_id] = point
            if not flying:  # an idle engine would be waited for in vain
                break
            engine.wait()
            for event in clock.step(engine):
                match event:
                    case StepDone(job_id=job_id, step=step, num_steps=num_steps):
                        yield PointStep(flying[job_id], step, num_steps)
                    case ImageDone(job_id=job_id, image=image):
                        done = PointDone(flying.pop(job_id), image, clock.seconds(job_id))
                        yield from turns.ended(done)
                    case ImageFailed(job_id=job_id, error=error):
                        yield from turns.ended(PointFailed(flying.pop(job_id), error))
    finally:
        for job_id in flying:
            engine.cancel(job_id)


class _Turns:
    """Results on their way out, held back until it is their turn where an order is kept."""

    def __init__(self, *, in_order: bool) -> None:
        self._in_order = in_order
        self._expected: deque[int] = deque()
        self._held: dict[int, SweepResult] = {}

    @property
    def num_held(self) -> int:
        return len(self._held)

    def expect(self, points: Sequence[SweepPoint]) -> None:
        self._expected.extend(point.index for point in points)

    def ended(self, result: SweepResult) -> Iterator[SweepResult]:
        if not self._in_order:
            yield result
            return
        self._held[result.point.index] = result
        while self._expected and self._expected[0] in self._held:
            yield self._held.pop(self._expected.popleft())


class _SharedClock:
    """Seconds of each job, where those that share a forward share its time."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._unshared = 0.0  # of forwards that completed no step: tiles of a large canvas

    def step(self, engine: Engine) -> list[Event]:
        begun = time.perf_counter()
        events = engine.step()
        self._unshared += time.perf_counter() - begun
        moved = [event.job_id for event in events if isinstance(event, StepDone)]
        for job_id in moved:
            self._seconds[job_id] = self._seconds.get(job_id, 0.0) + self._unshared / len(moved)
        if moved:
            self._unshared = 0.0
        return events

    def seconds(self, job_id: str) -> float:
        return self._seconds.get(job_id, 0.0)
