"""Everything a request needs, wired once."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from api.back_pressure import BackPressure
from api.blobs import BlobStore
from api.event_urls import EventUrls
from api.intake import Intake
from api.keys import KeyRing
from api.process import num_cores
from api.queue_positions import QueuePositions
from api.rate_limit import RateLimit
from api.readiness import Readiness
from api.result_urls import ResultUrls
from api.settings import Settings
from api.task_watch import TaskWatch
from api.tasks import TaskStore
from api.webhook_queue import WebhookQueue
from engine.registry import Registry
from engine.translate import Translator


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running API process; the same for every request.

    Attributes:
        decoding: held while images are decoded. The size of a file says little of what its
            pixels take: 8 kB may hold 64 million of them, hence as many at once as cores.
    """

    settings: Settings
    store: TaskStore
    blobs: BlobStore
    keys: KeyRing
    registry: Registry
    translator: Translator
    urls: ResultUrls
    intake: Intake
    positions: QueuePositions
    watch: TaskWatch
    event_urls: EventUrls
    webhooks: WebhookQueue
    back_pressure: BackPressure
    rate_limit: RateLimit
    readiness: Readiness
    decoding: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(max(2, num_cores()))
    )
