"""The process that one target is fuzzed in: `python -m scripts.fuzzing.child TARGET FOLDER ...`.

A process of its own, since hostile input may hang or end it, and since libFuzzer ends the process
it ran in.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scripts.fuzzing import engines
from scripts.fuzzing.catalogue import ENTRIES
from scripts.fuzzing.findings import Findings
from scripts.fuzzing.judge import Judge
from scripts.fuzzing.ledger import Ledger
from scripts.fuzzing.memory import measure_growth, sampled

NUM_SAMPLES = 250


def main() -> None:
    """Fuzzes, or with `--replay` measures memory and writes it to `growth.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=ENTRIES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("findings", type=Path)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", action="store_true")
    options = parser.parse_args()
    entry, folder = ENTRIES[options.target], options.folder
    module = engines.load(entry)
    scratch, samples = folder / "scratch", folder / "samples"
    scratch.mkdir(exist_ok=True)
    samples.mkdir(exist_ok=True)
    check = module.open_check(scratch)
    if options.replay:
        growth = measure_growth(
            check, sampled(samples), num_inputs=options.count, seconds=options.seconds
        )
        told = {"resident": list(growth.resident), "inputs_a_round": growth.inputs_a_round}
        (folder / "growth.json").write_text(json.dumps(told))
        return
    judge = Judge(
        check,
        Ledger(folder / "ledger"),
        Findings(options.findings, entry.name),
        samples,
        sample_every=max(1, options.count // NUM_SAMPLES),
    )
    engines.run(
        entry,
        module,
        judge,
        count=options.count,
        seconds=options.seconds,
        seed=options.seed,
        folder=folder,
    )


if __name__ == "__main__":
    main()
