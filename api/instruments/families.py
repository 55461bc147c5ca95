"""From numbers to the families that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from api.errors import TaskStoreError
from api.instruments import metrics as m
from api.instruments.queue_state import QueueState
from api.instruments.snapshot import WorkerSnapshot
from engine.counts import Distribution

Rows = Iterable[tuple[Sequence[str], float]]  # values of the labels, and the number


class WorkerCollector(Collector):
    """The workers of this machine.

    Args:
        read: gives what they wrote last.
    """

    def __init__(self, read: Callable[[], Sequence[WorkerSnapshot]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Family]:
        """Without numbers."""
        return [_family(metric, ()) for metric in m.OF_WORKERS]

    def collect(self) -> Iterator[Family]:
        """With them."""
        workers = [((each.worker, each.device), each) for each in self._read()]
        singles: list[tuple[m.Metric, Callable[[WorkerSnapshot], float]]] = [
            (m.WORKER_READY, lambda s: s.is_ready),
            (m.WORKER_TASKS, lambda s: len(s.tasks)),
            (m.TASK_STARTS, lambda s: s.counts.starts),
            (m.TASK_RERUNS, lambda s: s.counts.reruns),
            (m.LEASES_EXPIRED, lambda s: s.counts.leases_expired),
            (m.CRASHES, lambda s: s.counts.crashes),
            (m.PUBLISHES_FENCED, lambda s: s.counts.publishes_fenced),
            (m.STEPS, lambda s: s.engine.steps),
            (m.LORA_SWITCHES, lambda s: s.engine.lora_switches),
            (m.MEMORY_USED, lambda s: s.state.memory_used_bytes),
            (m.MEMORY_TOTAL, lambda s: s.state.memory_total_bytes),
        ]
        for metric, value in singles:
            yield _family(metric, [(labels, float(value(each))) for labels, each in workers])
        several: list[tuple[m.Metric, Callable[[WorkerSnapshot], Iterable[tuple[str, int]]]]] = [
            (m.TASKS_ENDED, lambda s: s.counts.ended.items()),
            (m.CACHE_HITS, lambda s: [(k, v.hits) for k, v in s.engine.caches.items()]),
            (m.CACHE_MISSES, lambda s: [(k, v.misses) for k, v in s.engine.caches.items()]),
            (m.MODEL_LOADED, lambda s: [(name, 1) for name in s.state.models]),
        ]
        for metric, values in several:
            rows = [((*labels, k), float(v)) for labels, each in workers for k, v in values(each)]
            yield _family(metric, rows)
        yield _histogram(m.STEP_SECONDS, [(labels, each.engine.step_s) for labels, each in workers])
        yield _histogram(m.FORWARD_LANES, [(labels, each.engine.lanes) for labels, each in workers])


class QueueCollector(Collector):
    """The task store, as every API process of a cluster sees it."""

    def __init__(self, queue: QueueState) -> None:
        self._queue = queue

    def describe(self) -> Iterable[Family]:
        """Without numbers."""
        return [_family(metric, ()) for metric in m.OF_STORE]

    def collect(self) -> Iterator[Family]:
        """With them; where the store does not answer, only that."""
        try:
            lines = self._queue.lines()
        except TaskStoreError:
            yield _family(m.STORE_UP, [((), 0.0)])
            return
        yield _family(m.STORE_UP, [((), 1.0)])
        labeled = [((line.state, line.model, line.key), line) for line in lines]
        yield _family(m.QUEUE_TASKS, [(labels, line.tasks) for labels, line in labeled])
        ages = [(labels, line.oldest_age_s) for labels, line in labeled]
        yield _family(m.QUEUE_OLDEST_AGE, ages)


def _family(metric: m.Metric, rows: Rows) -> Family:
    kinds = {
        "counter": CounterMetricFamily,
        "gauge": GaugeMetricFamily,
        "histogram": HistogramMetricFamily,
    }
    family: Family = kinds[metric.kind](metric.name, f"{metric.meaning}.", labels=metric.labels)
    for labels, value in rows:
        family.add_metric(labels, value)  # type: ignore[attr-defined]
    return family


def _histogram(metric: m.Metric, rows: Iterable[tuple[Sequence[str], Distribution]]) -> Family:
    family = HistogramMetricFamily(metric.name, f"{metric.meaning}.", labels=metric.labels)
    for labels, each in rows:
        bounds = [*map(str, each.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(map(float, each.counts)), strict=True))
        family.add_metric(labels, buckets, each.total)
    return family
