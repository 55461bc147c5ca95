"""Row 14: status polls while pictures are painted, and what they take from the painting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from statistics import median

from scripts.benchmark.bench import Bench
from scripts.benchmark.client import Client
from scripts.benchmark.pairs import Pairs, alternate, percentile, spread, timed
from scripts.benchmark.row import Limit, Measure, Row
from scripts.benchmark.server import Server, serving
from scripts.benchmark.workload import Request, request_of

_POLLS_PER_S = 50
_POLLERS = 4
_LONG_STEPS = 100
_LOOKS = 3


def polling(bench: Bench) -> Sequence[Measure]:
    """Row 14."""
    shape = bench.shape("M")
    latencies: list[float] = []
    with serving(bench, "M") as server:
        client, seeds = server.client(), count()
        uid = client.submit(client.generate_body(request_of(shape, next(seeds))))
        client.wait(uid)

        def paint() -> None:
            request = request_of(shape, next(seeds), num_steps=2 * shape.num_steps)
            client.generate(client.generate_body(request))

        def paint_polled() -> float:
            with _polled(server, uid, latencies):
                return timed(paint)()

        pairs = alternate(paint_polled, timed(paint), rounds=bench.sizes.rounds)
        client.close()
        long = request_of(shape, num_steps=_LONG_STEPS)
        rates = [_rate(server, long, bench.sizes.polling_s / _LOOKS) for _ in range(_LOOKS)]
    return [
        Measure(
            "status polls a second while generating",
            median(rates),
            limit=Limit(200, 500, at_least=True),
            spread=spread(rates),
            samples={"per_s": rates},
            note=f"{_POLLERS} connections, each asking again as soon as it is answered",
        ),
        Measure(
            f"99th percentile at {_POLLS_PER_S} a second",
            1000 * percentile(latencies, 99),
            "ms",
            Limit(50, 10),
            samples={"s": latencies},
            note="from the moment the poll was due, so that a late one delays the next for no one",
        ),
        _slow_down(pairs),
    ]


def _slow_down(pairs: Pairs) -> Measure:
    return Measure(
        f"slow-down of generation at {_POLLS_PER_S} a second",
        100 * (pairs.ratio - 1),
        "%",
        Limit(5, 1),
        100 * pairs.ratio_spread,
        {"polled_s": pairs.a, "alone_s": pairs.b},
        "the client's own work included, which takes from the same cores",
    )


def _rate(server: Server, request: Request, look_s: float) -> float:
    """Polls a second of all pollers together while `request` is painted, which is then dropped."""
    client, store = server.client(), server.store()
    uid = client.submit(client.generate_body(request))
    body = client.poll_body(uid)
    while client.post(body)["TaskDetailList"][0]["Status"] == "Queuing":
        time.sleep(0.01)
    pollers = [server.client() for _ in range(_POLLERS)]
    started = time.monotonic()
    with ThreadPoolExecutor(_POLLERS) as pool:
        counts = pool.map(lambda poller: _poll_until(poller, body, started + look_s), pollers)
        rate = sum(counts) / look_s
    for each in (*pollers, client):
        each.close()
    store.cancel(uid, tenant=client.public_key)
    store.close()
    return rate


def _poll_until(client: Client, body: bytes, deadline: float) -> int:
    """Polls without a pause; how many were answered in time."""
    polls = 0
    while True:
        client.post(body)
        if time.monotonic() > deadline:
            return polls
        polls += 1


@contextmanager
def _polled(server: Server, uid: str, latencies: list[float]) -> Iterator[None]:
    """Polls `_POLLS_PER_S` times a second meanwhile; adds what each poll took, in seconds."""
    stopping = threading.Event()
    clients = [server.client() for _ in range(_POLLERS)]
    with ThreadPoolExecutor(_POLLERS) as pool:
        futures = [
            pool.submit(_poll_steadily, client, uid, place, stopping.is_set)
            for place, client in enumerate(clients)
        ]
        try:
            yield
        finally:
            stopping.set()
        for future in futures:
            latencies += future.result()
    for client in clients:
        client.close()


def _poll_steadily(
    client: Client, uid: str, place: int, is_over: Callable[[], bool]
) -> list[float]:
    """One poller's share of the polls, each at its own time whatever the one before took."""
    body, took = client.poll_body(uid), []
    due = time.monotonic() + place / _POLLS_PER_S
    while not is_over():
        time.sleep(max(0.0, due - time.monotonic()))
        client.post(body)
        took.append(time.monotonic() - due)
        due += _POLLERS / _POLLS_PER_S
    return took


ROWS = (Row(14, "polling while generating", polling, "M"),)
