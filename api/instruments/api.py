"""What an API process tells of itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from api.database import Database
from api.instruments.families import QueueCollector, WorkerCollector
from api.instruments.http import HttpMetrics
from api.instruments.queue_state import QueueState
from api.instruments.snapshot import read_snapshots, snapshots_folder
from api.instruments.traces import open_traces
from api.settings import Settings


class ApiInstruments:
    """Metrics and traces of one API process.

    Args:
        settings: of the service.
        database: of the task store.

    Attributes:
        registry: all metrics: its requests, the queue, the workers of its data folder.
        http: the first of these.
        traces: None where they are off.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        folder = snapshots_folder(settings.data_dir)
        self.registry = CollectorRegistry()
        self.http = HttpMetrics(self.registry)
        self.traces = open_traces(settings, "backdrop-api")
        self.registry.register(QueueCollector(QueueState(database)))
        self.registry.register(WorkerCollector(lambda: read_snapshots(folder)))
        ProcessCollector(registry=self.registry)

    def close(self) -> None:
        """Send what is not sent yet."""
        if self.traces is not None:
            self.traces.close()
