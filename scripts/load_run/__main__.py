"""Puts load on the real service with the embedded model, 64x64 at 6 steps.

    scripts/load                       50 clients, 2,000 tasks, on SQLite and on PostgreSQL
    scripts/load --store sqlite        on one of them
    scripts/load --tasks 100 --clients 10 --depth 200

What it finds slow says little while other work holds the cores: the load stands in the report.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from scripts.load_run.clients import Work
from scripts.load_run.report import write_report
from scripts.load_run.run import load, new_bench
from scripts.load_run.stores import STORES


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line, see the module's text; 1 where something is not as it must be."""
    parser = argparse.ArgumentParser(
        prog="scripts/load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--store", choices=STORES, action="append", help="default both")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--depth", type=int, default=10_000, help="of the deep queue")
    parser.add_argument("--samples", type=int, default=50, help="of each cost of the deep queue")
    parser.add_argument("--output", type=Path, default=Path("load-output"))
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what runs is ended too
    started_at, loads = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), []
    with tempfile.TemporaryDirectory(prefix="backdrop-load-") as folder:
        bench = new_bench(Path(folder), queue_depth=options.depth, samples=options.samples)
        for store in options.store or STORES:
            loads.append(load(bench, store, Work(options.clients, options.tasks)))
            busy = f"{os.getloadavg()[2]:.1f} on {len(os.sched_getaffinity(0))} cores"
            machine = (
                f"Run of {started_at}; load average of 15 minutes, this run's own too: {busy}."
            )
            page = write_report(loads, options.output, machine=machine)
    print(page.read_text())
    return int(any(each.problems for each in loads))


if __name__ == "__main__":
    raise SystemExit(main())
