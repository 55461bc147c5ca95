"""Feeds hostile input to everything that reads bytes from outside.

    scripts/fuzz                              all targets, 210,000 inputs
    scripts/fuzz image_file --inputs 100000   one of them
    scripts/fuzz --reproduce FILE             a finding again, with its traceback

A run is bounded by inputs and by time. What it finds lies in `fuzz-output/findings`.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from scripts.fuzzing import engines
from scripts.fuzzing.catalogue import ENTRIES
from scripts.fuzzing.findings import target_of
from scripts.fuzzing.report import write_report
from scripts.fuzzing.watch import Outcome, fuzz


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line, see the module's text; 1 where something was found."""
    parser = argparse.ArgumentParser(
        prog="scripts/fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(ENTRIES))
    parser.add_argument("--inputs", type=int, default=210_000, help="in all")
    parser.add_argument("--seconds", type=float, default=1800.0, help="in all; default 1800")
    parser.add_argument("--seed", type=int, help="of the engines; default a random one")
    parser.add_argument("--output", type=Path, default=Path("fuzz-output"))
    parser.add_argument("--reproduce", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what runs is ended too
    if options.reproduce is not None:
        return reproduce(options.reproduce)
    names = options.targets or list(ENTRIES)
    if unknown := set(names) - set(ENTRIES):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    seed = secrets.randbelow(2**31 - 1) + 1 if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    outcomes = run(
        names, inputs=options.inputs, seconds=options.seconds, seed=seed, output=options.output
    )
    return int(not all(each.is_clean for each in outcomes))


def run(
    names: Sequence[str], *, inputs: int, seconds: float, seed: int, output: Path
) -> list[Outcome]:
    """Fuzzes these targets one after the other and writes the report.

    Args:
        names: of targets.
        inputs: shared between them as the catalogue says.
        seconds: for all; a slow target may use what quick ones left.
        seed: of the engines.
        output: folder of the report and of the findings.
    """
    started_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    deadline, outcomes = time.monotonic() + seconds, list[Outcome]()
    whole = sum(ENTRIES[name].per_mille for name in names)
    with tempfile.TemporaryDirectory(prefix="backdrop-fuzz-") as scratch:
        for name in names:
            entry, folder = ENTRIES[name], Path(scratch) / name
            folder.mkdir()
            outcome = fuzz(
                entry,
                count=max(1, -(-inputs * entry.per_mille // whole)),
                seconds=deadline - time.monotonic(),
                seed=seed,
                folder=folder,
                findings=output / "findings",
            )
            outcomes.append(outcome)
            print(
                f"{name}: {outcome.inputs:,} inputs, {len(outcome.findings)} findings", flush=True
            )
            load = f"load average {os.getloadavg()[1]:.1f} on {len(os.sched_getaffinity(0))} cores"
            table = write_report(outcomes, output, started_at=started_at, load=load)
    print(table.read_text())
    return outcomes


def reproduce(finding: Path) -> int:
    """Checks one input again; what it raises is shown, and raised."""
    entry = ENTRIES[target_of(finding)]
    with tempfile.TemporaryDirectory(prefix="backdrop-fuzz-") as folder:
        accepted = engines.load(entry).open_check(Path(folder))(finding.read_bytes())
    print("accepted, and rightly" if accepted else "refused, and rightly")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
