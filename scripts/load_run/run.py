"""One store under load: a server with the embedded model, clients, then the cost of a deep queue."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark.bench import Bench
from scripts.benchmark.queue_rows import depth_on
from scripts.benchmark.row import Measure
from scripts.benchmark.server import Server
from scripts.benchmark.workload import Request
from scripts.load_run.clients import Tally, Work, run_clients
from scripts.load_run.memory import Memory, watched
from scripts.load_run.stores import NewDatabase, databases

_SIDE_PX, _NUM_STEPS = 64, 6
_MODELS = """
default_model: PICPIK General
models:
  - name: PICPIK General
    path: package:embedded
    family: sd1
    native_size_px: 256
    min_area_ratio: 0 # 64x64 is painted as it is
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What a store was put under, and what was seen.

    Attributes:
        store: "sqlite" or "postgresql".
        work: of the clients.
        took_s: from the first submission until the last task had ended.
        tally: of all clients.
        memory: of all processes of the server.
        depth: what a deep queue costs against a shallow one.
    """

    store: str
    work: Work
    took_s: float
    tally: Tally
    memory: Memory
    depth: Sequence[Measure]

    @property
    def problems(self) -> list[str]:
        """What must not be: errors, lost tasks, growing memory, a depth that costs too much."""
        found = list(self.tally.errors)
        if (lost := self.work.num_tasks - len(set(self.tally.finished))) > 0:
            found.append(f"{lost} tasks were not seen finished")
        if not self.memory.is_flat:
            found.append(f"memory grew by {100 * self.memory.growth:.0f} %")
        return found + [
            f"{each.name}: {each.value:.2f}"
            for each in self.depth
            if each.limit is not None and each.value > each.limit.aim
        ]


def load(bench: Bench, store: str, work: Work) -> Load:
    """Puts one store under load.

    Args:
        bench: scratch folder, and depth and samples of the deep queue.
        store: one of `stores.STORES`.
        work: of the clients.
    """
    with databases(store) as new_database:
        bench.say(f"{store}: {work.num_clients} clients, {work.num_tasks:,} tasks")
        took_s, tally, memory = _under_clients(bench, new_database, work)
        bench.say(f"{store}: a queue of {bench.sizes.queue_depth:,}")
        return Load(store, work, took_s, tally, memory, depth_on(bench, new_database))


def _under_clients(
    bench: Bench, new_database: NewDatabase, work: Work
) -> tuple[float, Tally, Memory]:
    folder = bench.scratch("load")
    models_file = folder / "models.yaml"
    models_file.write_text(_MODELS)
    server = Server(folder, models_file, database_url=new_database())
    try:
        first = server.client()
        first.generate(first.generate_body(request(0)))  # the model is loaded
        first.close()
        started = time.monotonic()
        with watched(server.resident_bytes) as memory:
            tally = run_clients(server.client, request, work)
        return time.monotonic() - started, tally, memory
    finally:
        server.stop()


def request(number: int) -> Request:
    """64x64 at 6 steps, each with a seed and a place of its own."""
    shift = (0.37 * number) % 1.0
    return Request(
        _SIDE_PX, _NUM_STEPS, seed=number, shift=shift, prompt=f"blue sky, {number % 50}"
    )


def new_bench(folder: Path, *, queue_depth: int, samples: int) -> Bench:
    """Sizes of the deep queue."""
    from scripts.benchmark.bench import Sizes

    return Bench(folder, dataclasses.replace(Sizes(), queue_depth=queue_depth, many=4 * samples))
