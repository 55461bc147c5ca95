"""Rows 3 and 4: eight clients at once, beside the same pictures painted one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from scripts.benchmark.bench import Bench
from scripts.benchmark.litserve_server import litserve, litserve_pictures
from scripts.benchmark.pairs import Pairs, Sample, alternate
from scripts.benchmark.row import Limit, Measure, Row, ratio_measure
from scripts.benchmark.server import Server, serving
from scripts.benchmark.workload import Request, request_of
from scripts.benchmark.yardsticks import Yardstick, load_pipeline

NUM_CLIENTS = 8
_POLL_S = 0.1
_NOTE = (
    f"pictures a second; {NUM_CLIENTS} clients submit their shares and ask for all of their tasks "
    f"every {_POLL_S:g} s; seeds, prompts and masks differ"
)


def middle(bench: Bench) -> Sequence[Measure]:
    """Row 3."""
    requests = _requests(bench, "M", bench.sizes.requests)
    few = requests[: max(NUM_CLIENTS, len(requests) // 2)]
    yardstick = Yardstick(load_pipeline(bench.model_folder("M")))
    with serving(bench, "M") as server:
        pairs = alternate(
            _ours(server, requests),
            _sequential(yardstick, few),
            rounds=max(1, bench.sizes.few_rounds - 2),
        )
    return [ratio_measure("throughput / B0", pairs, Limit(0.95, 1.05, at_least=True), note=_NOTE)]


def tiny(bench: Bench) -> Sequence[Measure]:
    """Row 4."""
    requests = _requests(bench, "T", bench.sizes.many)
    few = requests[: max(NUM_CLIENTS, len(requests) // 8)]
    folder = bench.model_folder("T")
    yardstick = Yardstick(load_pipeline(folder))
    limit, rounds = Limit(1.8, 3.0, at_least=True), bench.sizes.few_rounds
    with serving(bench, "T") as server:
        ours = _ours(server, requests)
        beside_b0 = alternate(ours, _sequential(yardstick, few), rounds=rounds)
        with litserve(folder, bench.scratch("litserve")) as port:
            beside_b2 = alternate(ours, _litserve(port, requests), rounds=rounds)
    return [
        ratio_measure("throughput / B0", beside_b0, limit, note=_NOTE),
        _against_b2(beside_b2, limit),
    ]


def _against_b2(pairs: Pairs, limit: Limit) -> Measure:
    note = "LitServe's clients each ask for the next picture when they have their last"
    return ratio_measure("throughput / B2", pairs, limit, note=note)


def _requests(bench: Bench, shape_name: str, count: int) -> list[Request]:
    requests = [request_of(bench.shape(shape_name), index) for index in range(count)]
    for request in requests:
        _ = request.png  # drawn and encoded before the clock runs
    return requests


def _ours(server: Server, requests: Sequence[Request]) -> Sample:
    """Pictures a second of our server."""
    client = server.client()
    bodies = [client.generate_body(request) for request in requests]
    client.close()

    def sample() -> float:
        clients = [server.client() for _ in range(NUM_CLIENTS)]
        shares = [bodies[index::NUM_CLIENTS] for index in range(NUM_CLIENTS)]
        started = time.perf_counter()
        with ThreadPoolExecutor(NUM_CLIENTS) as pool:
            for future in [
                pool.submit(client.generate_all, share, poll_s=_POLL_S)
                for client, share in zip(clients, shares, strict=True)
            ]:
                future.result()
        elapsed_s = time.perf_counter() - started
        for client in clients:
            client.close()
        return len(bodies) / elapsed_s

    return sample


def _sequential(yardstick: Yardstick, requests: Sequence[Request]) -> Sample:
    """Pictures a second of B0."""

    def sample() -> float:
        started = time.perf_counter()
        for request in requests:
            yardstick.b0(request)
        return len(requests) / (time.perf_counter() - started)

    return sample


def _litserve(port: int, requests: Sequence[Request]) -> Sample:
    """Pictures a second of B2."""

    def sample() -> float:
        started = time.perf_counter()
        litserve_pictures(port, requests, num_clients=NUM_CLIENTS)
        return len(requests) / (time.perf_counter() - started)

    return sample


ROWS = (
    Row(3, "throughput of 8 clients", middle, "M"),
    Row(4, "throughput of 8 clients", tiny, "T"),
)
