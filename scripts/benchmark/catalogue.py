"""All rows, in the order of the table: each module of rows names its own in `ROWS`."""

from __future__ import annotations

from scripts.benchmark import (
    cost_rows,
    engine_rows,
    latency_rows,
    memory_rows,
    polling_rows,
    queue_rows,
    start_rows,
    throughput_rows,
    waiting_rows,
)
from scripts.benchmark.row import Row

_MODULES = (
    cost_rows,
    engine_rows,
    latency_rows,
    memory_rows,
    polling_rows,
    queue_rows,
    start_rows,
    throughput_rows,
    waiting_rows,
)

ROWS: dict[int, Row] = {
    row.number: row
    for row in sorted(
        (row for module in _MODULES for row in module.ROWS), key=lambda row: row.number
    )
}
