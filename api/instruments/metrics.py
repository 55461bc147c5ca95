"""Every metric of the service: name, type, labels, meaning. docs/instruments.md holds the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A family of series.

    Attributes:
        name: as it is queried; of a histogram without _bucket, _sum, _count.
        kind: its type.
        labels: in order.
        meaning: one sentence without a full stop.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str


_WORKER = ("worker", "device")

STORE_UP = Metric("backdrop_store_up", "gauge", (), "1 where the task store answers, else 0")
QUEUE_TASKS = Metric(
    "backdrop_queue_tasks",
    "gauge",
    ("state", "model", "key"),
    "Tasks that are queued or running",
)
QUEUE_OLDEST_AGE = Metric(
    "backdrop_queue_oldest_age_seconds",
    "gauge",
    ("state", "model", "key"),
    "Age of the oldest of them, since it was submitted or first started",
)
HTTP_REQUESTS = Metric(
    "backdrop_http_requests_total",
    "counter",
    ("action", "ret_code", "status"),
    "HTTP requests answered",
)
HTTP_SECONDS = Metric(
    "backdrop_http_request_seconds",
    "histogram",
    ("action",),
    "Time to answer one, from its headers to the last byte of the answer",
)
WORKER_READY = Metric(
    "backdrop_worker_ready", "gauge", _WORKER, "1 where the worker's compute child takes tasks"
)
WORKER_TASKS = Metric("backdrop_worker_tasks", "gauge", _WORKER, "Tasks in the compute child")
TASK_STARTS = Metric("backdrop_task_starts_total", "counter", _WORKER, "Starts of tasks")
TASK_RERUNS = Metric(
    "backdrop_task_reruns_total",
    "counter",
    _WORKER,
    "Starts of tasks that had been started before",
)
TASKS_ENDED = Metric(
    "backdrop_tasks_ended_total",
    "counter",
    (*_WORKER, "status"),
    "Tasks that ended, published or swept by this worker",
)
LEASES_EXPIRED = Metric(
    "backdrop_leases_expired_total",
    "counter",
    _WORKER,
    "Running tasks of silent workers that this one swept",
)
CRASHES = Metric(
    "backdrop_compute_crashes_total",
    "counter",
    _WORKER,
    "Compute children that died or were killed since they hung",
)
PUBLISHES_FENCED = Metric(
    "backdrop_publishes_fenced_total",
    "counter",
    _WORKER,
    "Ends of tasks that the store refused since the lease was lost",
)
STEPS = Metric("backdrop_steps_total", "counter", _WORKER, "Denoising steps of images")
STEP_SECONDS = Metric(
    "backdrop_step_seconds",
    "histogram",
    _WORKER,
    "Time of one step of the loop on the device: a forward and its samplers",
)
FORWARD_LANES = Metric(
    "backdrop_forward_lanes", "histogram", _WORKER, "Images that shared a forward"
)
LORA_SWITCHES = Metric(
    "backdrop_lora_switches_total",
    "counter",
    _WORKER,
    "Forwards with other LoRAs than the forward before",
)
CACHE_HITS = Metric(
    "backdrop_cache_hits_total",
    "counter",
    (*_WORKER, "cache"),
    "What was in a cache: encodings of images, prompts, loras",
)
CACHE_MISSES = Metric(
    "backdrop_cache_misses_total",
    "counter",
    (*_WORKER, "cache"),
    "What had to be made or read",
)
MEMORY_USED = Metric(
    "backdrop_device_memory_used_bytes",
    "gauge",
    _WORKER,
    "Memory of the GPU in use by all processes; on a CPU that of the compute child",
)
MEMORY_TOTAL = Metric(
    "backdrop_device_memory_total_bytes", "gauge", _WORKER, "Memory of the device"
)
MODEL_LOADED = Metric(
    "backdrop_model_loaded", "gauge", (*_WORKER, "model"), "1 for each model on the device"
)

OF_STORE = (STORE_UP, QUEUE_TASKS, QUEUE_OLDEST_AGE)
OF_HTTP = (HTTP_REQUESTS, HTTP_SECONDS)
OF_WORKERS = (
    WORKER_READY,
    WORKER_TASKS,
    TASK_STARTS,
    TASK_RERUNS,
    TASKS_ENDED,
    LEASES_EXPIRED,
    CRASHES,
    PUBLISHES_FENCED,
    STEPS,
    STEP_SECONDS,
    FORWARD_LANES,
    LORA_SWITCHES,
    CACHE_HITS,
    CACHE_MISSES,
    MEMORY_USED,
    MEMORY_TOTAL,
    MODEL_LOADED,
)
METRICS = (*OF_STORE, *OF_HTTP, *OF_WORKERS)
