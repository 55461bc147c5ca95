"""Row 15: whether the server's memory grows with the requests it has served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from statistics import median

from scripts.benchmark.bench import Bench
from scripts.benchmark.row import Limit, Measure, Row
from scripts.benchmark.server import Server, serving
from scripts.benchmark.workload import Request

_PER = 1000
_BATCH = 20  # requests between two looks
_WARM_SHARE = 0.2  # of the requests, before the first look that counts
_STEPS = 6
# Every request brings a new prompt and image: a cache of the default size would fill up during the
# whole run, and what fills up is no growth. This one is full before the first look that counts.
_CACHE_BYTES = 8 * 2**20
# Twenty sizes of which no two share a latent size.
_SIDES_PX = tuple(range(64, 64 + 20 * 8, 8))


def growth(bench: Bench) -> Sequence[Measure]:
    """Row 15, on a fresh server each."""
    return [
        _growth(bench, "one size", _SIDES_PX[:1], Limit(20, 2)),
        _growth(bench, f"{len(_SIDES_PX)} sizes", _SIDES_PX, Limit(60, 10)),
    ]


def _growth(bench: Bench, name: str, sides_px: Sequence[int], limit: Limit) -> Measure:
    total = bench.sizes.lifetime_requests
    with serving(bench, "T", BACKDROP_ENCODING_CACHE_BYTES=str(_CACHE_BYTES)) as server:
        resident = _resident(server, total, sides_px)
    counted = resident[int(_WARM_SHARE * len(resident)) :]
    quarter = max(1, len(counted) // 4)
    grown = median(counted[-quarter:]) - median(counted[:quarter])
    apart = (len(counted) - quarter) * _BATCH  # requests between the middles of both quarters
    return Measure(
        f"growth of resident memory a {_PER:,} requests, {name}",
        grown / max(1, apart) * _PER / 2**20,
        "MiB",
        limit,
        samples={"resident_bytes": resident},
        note=f"all processes; {total:,} requests, the first fifth left out; last quarter less "
        f"first; the cache of encodings is bounded to {_CACHE_BYTES // 2**20} MiB, so that its "
        "filling up is not counted",
    )


def _resident(server: Server, total: int, sides_px: Sequence[int]) -> list[int]:
    """Resident bytes of the server after every `_BATCH` requests."""
    client = server.client()
    bodies = (client.generate_body(request) for request in _requests(sides_px))
    resident = []
    for _ in range(total // _BATCH):
        client.generate_all(list(islice(bodies, _BATCH)), poll_s=0.05)
        resident.append(server.resident_bytes())
    client.close()
    return resident


def _requests(sides_px: Sequence[int]) -> Iterator[Request]:
    """Requests without end, the sizes in turn, no two alike."""
    for index, side_px in enumerate(cycle(sides_px)):
        yield Request(
            side_px=side_px, num_steps=_STEPS, seed=index, prompt=f"scene {index}", shift=0.3
        )


ROWS = (Row(15, "growth of memory", growth, "T"),)
