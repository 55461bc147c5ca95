"""The page of metrics of a worker that runs by itself, as on a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from api.instruments.endpoint import metrics_endpoint
from api.instruments.families import WorkerCollector
from api.instruments.snapshot import WorkerSnapshot, read_snapshots, snapshots_folder
from api.settings import Settings


@contextmanager
def own_metrics(settings: Settings) -> Iterator[None]:
    """Serves the numbers of the supervisor in this process, where `metrics_port` is set.

    Raises:
        OSError: the address cannot be listened on.
    """
    folder, pid = snapshots_folder(settings.data_dir), os.getpid()

    def own() -> list[WorkerSnapshot]:
        return [each for each in read_snapshots(folder) if each.pid == pid]

    registry = CollectorRegistry()
    registry.register(WorkerCollector(own))
    ProcessCollector(registry=registry)
    with metrics_endpoint(registry, settings.metrics_host, settings.metrics_port):
        yield
