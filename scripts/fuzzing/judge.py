"""One input after the other: checked, timed, entered in the ledger, kept when it breaks something."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from scripts.fuzzing.catalogue import Check
from scripts.fuzzing.findings import Findings
from scripts.fuzzing.ledger import Ledger

# CPU time, which other work on the machine does not lengthen. The largest input of a target is a
# hundredth of what a request may hold.
MAX_CPU_S = 2.0


class TooSlow(AssertionError):
    """A check took more CPU time than an input of its size may."""


@dataclass(slots=True)
class Judge:
    """Calls a check and never raises what the check raises.

    Attributes:
        check: of the target.
        ledger: for whoever watches.
        findings: where inputs go that raise.
        samples: a folder that every `sample_every`-th input is copied to, for the memory check.
        sample_every: at least 1.
    """

    check: Check
    ledger: Ledger
    findings: Findings
    samples: Path
    sample_every: int = 1
    _number: int = 0

    def __call__(self, data: bytes) -> None:
        """Judges one input."""
        self.ledger.begin(data)
        started, accepted = time.process_time(), False
        try:
            accepted = self.check(data)
        except Exception as exc:  # that is what is looked for
            self.findings.add(data, exc)
        took_s = time.process_time() - started
        if took_s > MAX_CPU_S:
            self.findings.add(data, TooSlow(f"{took_s:.1f} s of CPU time"))
        self.ledger.end(accepted=accepted, took_s=took_s)
        if self._number % self.sample_every == 0:
            (self.samples / f"{self._number:08}").write_bytes(data)
        self._number += 1
