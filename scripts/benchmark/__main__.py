"""Measures this service and its engine beside diffusers' own pipelines.

    scripts/bench                          every row, about 40 minutes on two cores
    scripts/bench --rows 1 3 14            some rows
    scripts/bench --quick                  a few samples of everything: does it run?
    scripts/bench --device cuda            batches, sizes, LoRA mixes and memory on a GPU

The machine must be idle: it refuses to start while another process uses more than 0.2 core.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from scripts.benchmark.bench import QUICK, Bench, Sizes
from scripts.benchmark.catalogue import ROWS
from scripts.benchmark.device_mode import measure_device, settings
from scripts.benchmark.device_report import write_device_report
from scripts.benchmark.machine import machine
from scripts.benchmark.noise import measure_noise
from scripts.benchmark.outcome import Outcome, Run
from scripts.benchmark.quiet import ForeignLoad, MachineIsBusy, require_quiet
from scripts.benchmark.report import write_report
from scripts.benchmark.row import Row

BUSY_CAVEAT = "The machine was busy with other work: these numbers do not count."
QUICK_CAVEAT = "A quick run: too few samples to count."


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line, see the module's text; the exit status."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", nargs="+", type=int, choices=sorted(ROWS), metavar="N")
    parser.add_argument("--quick", action="store_true", help="few samples: does it run?")
    parser.add_argument(
        "--device", default="cpu", help="another one than cpu is measured by the GPU mode"
    )
    parser.add_argument("--output", type=Path, default=Path("bench-output"))
    parser.add_argument(
        "--on-a-busy-machine",
        action="store_true",
        help="measure all the same; the report says that the numbers do not count",
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what runs is ended too
    try:
        if not options.on_a_busy_machine:
            require_quiet()
    except MachineIsBusy as exc:
        parser.exit(2, f"scripts/bench: the machine is busy: {exc}\n")
    caveat = BUSY_CAVEAT if options.on_a_busy_machine else QUICK_CAVEAT if options.quick else ""
    with tempfile.TemporaryDirectory(prefix="backdrop-bench-") as folder:
        bench = Bench(Path(folder), QUICK if options.quick else Sizes())
        if options.device != "cpu":
            readings = measure_device(bench, options.device, "F", settings())
            print(write_device_report(readings, options.output, caveat).read_text())
            return int(any(each.error for each in readings))
        run = measure(bench, [ROWS[number] for number in options.rows or sorted(ROWS)], caveat)
    print(write_report(run, options.output).read_text())
    return int(any(outcome.error for outcome in run.outcomes))


def measure(bench: Bench, rows: Sequence[Row], caveat: str) -> Run:
    """Measures the noise, then the rows; a row that fails does not stop the others."""
    started_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    bench.say("A against A")
    noise = measure_noise(bench)
    outcomes = []
    for row in rows:
        bench.say(f"row {row.number}: {row.title}")
        outcomes.append(_outcome(bench, row))
    quick = bench.sizes is QUICK
    return Run(machine(), started_at, quick, noise, outcomes, caveat)


def _outcome(bench: Bench, row: Row) -> Outcome:
    load, started = ForeignLoad(), time.monotonic()
    measures, error = (), ""
    try:
        measures = tuple(row.measure(bench))
    except Exception as exc:
        error = f"{type(exc).__name__}: {exc}"
        bench.say(f"row {row.number} failed: {error}")
    took, foreign = time.monotonic() - started, load.disturbance()
    return Outcome(row, measures, took, error, str(foreign) if foreign else "")


if __name__ == "__main__":
    raise SystemExit(main())
