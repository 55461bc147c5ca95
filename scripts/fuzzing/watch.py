"""A target's process from outside: has it stopped, did it die, how much memory does it keep?"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.fuzzing.catalogue import Entry
from scripts.fuzzing.findings import Findings
from scripts.fuzzing.ledger import Ledger
from scripts.fuzzing.memory import Growth

HANG_S = 30.0  # by the wall clock, so generous: other work may hold the cores
_LOOK_S = 0.1
_MAX_STARTS = 4
_REPLAYED = 8_000
_REPLAY_S = 45.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What fuzzing one target gave.

    Attributes:
        entry: the target.
        seed: of the engine.
        inputs: that were checked.
        accepted: of them, each confirmed by the independent check.
        slowest_s: CPU time of the slowest check.
        took_s: by the wall clock.
        growth: of memory over repeated inputs; None where nothing ran.
        findings: files that reproduce.
    """

    entry: Entry
    seed: int
    inputs: int
    accepted: int
    slowest_s: float
    took_s: float
    growth: Growth | None
    findings: tuple[Path, ...]

    @property
    def is_clean(self) -> bool:
        """No finding, no leak, and something was checked at all."""
        leaks = self.growth is None or self.growth.is_leak
        return self.inputs > 0 and not self.findings and not leaks


def fuzz(
    entry: Entry, *, count: int, seconds: float, seed: int, folder: Path, findings: Path
) -> Outcome:
    """Fuzzes a target in processes of its own and measures what memory it keeps.

    Args:
        entry: the target.
        count: inputs.
        seconds: after which it ends with fewer.
        seed: of the engine; a restart after a crash takes the next one.
        folder: empty scratch.
        findings: folder that reproducing files go to.
    """
    started, found, ledger = (
        time.monotonic(),
        Findings(findings, entry.name),
        Ledger(folder / "ledger"),
    )
    for start in range(_MAX_STARTS):
        left, left_s = count - ledger.read().ended, seconds - (time.monotonic() - started)
        if left <= 0 or left_s <= 0:
            break
        options = ["--count", str(left), "--seconds", str(left_s), "--seed", str(seed + start)]
        if watched(_command(entry, folder, findings, *options), ledger, found, folder / "log"):
            break
    took_s, entered = time.monotonic() - started, ledger.read()
    ledger.close()
    return Outcome(
        entry,
        seed,
        entered.ended,
        entered.accepted,
        entered.slowest_s,
        took_s,
        _growth(entry, folder, findings),
        tuple(found.files()),
    )


def watched(
    command: Sequence[str], ledger: Ledger, findings: Findings, log: Path, *, hang_s: float = HANG_S
) -> bool:
    """Runs `command` to its end; False if it died, or was killed for standing still in a check."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        seen, since = ledger.read().begun, time.monotonic()
        while process.poll() is None:
            time.sleep(_LOOK_S)
            now = ledger.read()
            if now.begun != seen or not now.is_checking:
                seen, since = now.begun, time.monotonic()
            elif time.monotonic() - since > hang_s:
                findings.add_end(now.current, "hang", f"a check stood still for {hang_s:.0f} s")
                return False
    finally:
        process.kill()
        process.wait()
    if process.returncode == 0:
        return True
    told = log.read_text(errors="replace")[-2000:]
    kind = f"the process ended with {process.returncode}"
    findings.add_end(ledger.read().current, kind, told)
    return False


def _growth(entry: Entry, folder: Path, findings: Path) -> Growth | None:
    samples = folder / "samples"
    if not samples.is_dir() or not any(samples.iterdir()):
        return None
    options = ["--replay", "--count", str(_REPLAYED), "--seconds", str(_REPLAY_S)]
    with (folder / "replay.log").open("wb") as log:
        subprocess.run(
            _command(entry, folder, findings, *options), stdout=log, stderr=log, check=False
        )
    told = folder / "growth.json"
    return Growth(**json.loads(told.read_text())) if told.exists() else None


def _command(entry: Entry, folder: Path, findings: Path, *options: str) -> list[str]:
    module = "scripts.fuzzing.child"
    return [sys.executable, "-m", module, entry.name, str(folder), str(findings), *options]
