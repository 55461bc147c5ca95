"""`python -m scripts.chaos_run`: see docs/chaos.md."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

from scripts.chaos_run.disk import Disk
from scripts.chaos_run.report import is_clean, write_report
from scripts.chaos_run.run import Options, run

_OPTIONS_FILE = "options.json"


def main() -> int:
    """Begin a run, or go on with the one in the folder; 1 where something was lost or wrong."""
    options, keep = _options()
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    _same_as_before(options, folder / _OPTIONS_FILE)
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _frame: stopped.append(n))

    def say(line: str) -> None:
        print(line, flush=True)

    result = run(replace(options, folder=folder), say, lambda: bool(stopped))
    path = write_report(result, folder)
    say(path.read_text())
    clean = is_clean(result)
    say(f"{'clean' if clean else 'NOT CLEAN'}: {path}")
    if not keep and clean:
        Disk(folder / "disk").remove()
    return 0 if clean else 1


def _options() -> tuple[Options, bool]:
    defaults = Options(Path("chaos-output"))
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=defaults.folder)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default=defaults.store)
    parser.add_argument("--blobs", choices=["local", "s3"], default=defaults.blobs)
    parser.add_argument(
        "--stand-in-child", dest="stand_in", action="store_true", help="children without torch"
    )
    parser.add_argument("--tasks", dest="num_tasks", type=int, default=defaults.num_tasks)
    parser.add_argument("--kills", dest="num_kills", type=int, default=defaults.num_kills)
    parser.add_argument("--max-child-kills", type=int, default=defaults.max_child_kills)
    parser.add_argument("--minutes", type=float, default=defaults.minutes)
    parser.add_argument("--pace-s", type=float, default=defaults.pace_s)
    parser.add_argument("--lease-s", type=float, default=defaults.lease_s)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--keep", action="store_true", help="leave the disk mounted at the end")
    given = vars(parser.parse_args())
    keep = given.pop("keep")
    return Options(**given), keep


def _same_as_before(options: Options, file: Path) -> None:
    """A run goes on with what it was begun with; only its targets and its time may change."""
    fixed = {name: getattr(options, name) for name in ("store", "blobs", "stand_in", "seed")}
    if file.exists() and json.loads(file.read_text()) != fixed:
        sys.exit(f"{file.parent} holds a run with other options: {file.read_text()}")
    file.write_text(json.dumps(fixed))


if __name__ == "__main__":
    sys.exit(main())
