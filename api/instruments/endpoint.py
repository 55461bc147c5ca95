"""The page of metrics, on a port of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

logger = logging.getLogger(__name__)


@contextmanager
def metrics_endpoint(registry: CollectorRegistry, host: str, port: int | None) -> Iterator[str]:
    """Serves `registry` at /metrics from a thread; nothing where `port` is None.

    The port is not the API's: who may see the numbers is decided by who can reach it.

    Raises:
        OSError: the address cannot be listened on.
    """
    if port is None:
        yield ""
        return
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, f"metrics_host {host}, metrics_port {port}") from exc
    url = f"http://{host}:{server.server_port}/metrics"
    logger.info("metrics at %s", url)
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
