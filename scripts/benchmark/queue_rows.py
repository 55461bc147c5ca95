"""Rows 19 and 20: what a queue of 10,000 costs, in time and in bytes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from api.store import SqlTaskStore
from api.submit import new_uid
from api.tasks import Claimant, Lease, NewTask
from scripts.benchmark.bench import Bench
from scripts.benchmark.client import Client
from scripts.benchmark.pairs import Pairs, Sample, alternate
from scripts.benchmark.row import Limit, Measure, Row, ratio_measure
from scripts.benchmark.server import PUBLIC_KEY, Server
from scripts.benchmark.shapes import MODELS_FILE
from scripts.benchmark.workload import request_of

_SHALLOW = 10
_LEASE_S = 600.0


def depth(bench: Bench) -> Sequence[Measure]:
    """Row 19: two API processes without workers, one over a deep queue, one over a shallow one."""
    return depth_on(bench, lambda: None)


def depth_on(bench: Bench, new_database: Callable[[], str | None]) -> Sequence[Measure]:
    """Row 19 on any store.

    Args:
        bench: tells the depth and the samples.
        new_database: URL of an empty database at each call; None for the file in the data folder.
    """
    deep = bench.sizes.queue_depth
    with (
        _api(bench, deep, new_database()) as at_deep,
        _api(bench, _SHALLOW, new_database()) as at_shallow,
    ):
        measures = []
        for name in ("submit", "poll", "claim", "cancel"):
            pairs = alternate(
                at_deep.sampler(name), at_shallow.sampler(name), rounds=bench.sizes.many // 4
            )
            measures.append(_of_depth(name, pairs, deep))
    return measures


def _of_depth(name: str, pairs: Pairs, deep: int) -> Measure:
    ours = {
        "submit": "over HTTP",
        "poll": "over HTTP",
        "claim": "by a worker, in the store",
        "cancel": "in the store",
    }
    told = ratio_measure("", pairs, None)
    return Measure(
        f"{name} at depth {deep:,} / {_SHALLOW}",
        median(pairs.a) / median(pairs.b),
        limit=Limit(2, 1.2),
        spread=told.spread,
        samples=told.samples,
        note=f"{ours[name]}, {1000 * median(pairs.a):.2f} ms at depth {deep:,}",
    )


class _Queue:
    """A queue of tasks and the four things that are done with one; each leaves its depth as it was."""

    def __init__(self, client: Client, store: SqlTaskStore, body: bytes, uids: list[str]) -> None:
        self._client = client
        self._store = store
        self._body = body
        self._uids = uids
        self._poll_body = self._client.poll_body(uids[len(uids) // 2])

    def sampler(self, name: str) -> Sample:
        """Takes the seconds of one of `submit`, `poll`, `claim`, `cancel`."""
        sample: Sample = getattr(self, f"_{name}")
        return sample

    def _submit(self) -> float:
        started = time.perf_counter()
        uid = self._client.submit(self._body)
        took = time.perf_counter() - started
        self._store.cancel(uid, tenant=PUBLIC_KEY)
        return took

    def _poll(self) -> float:
        return _seconds(lambda: self._client.post(self._poll_body))

    def _claim(self) -> float:
        started = time.perf_counter()
        [record] = self._store.claim(Claimant("bench"), limit=1, lease_s=_LEASE_S)
        took = time.perf_counter() - started
        self._store.release(Lease(record.uid, "bench", record.token), crashed=False)
        return took

    def _cancel(self) -> float:
        uid = self._client.submit(self._body)
        return _seconds(lambda: self._store.cancel(uid, tenant=PUBLIC_KEY))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def _api(bench: Bench, num_queued: int, database_url: str | None) -> Iterator[_Queue]:
    """An API process without workers over a queue of that depth."""
    models_file = bench.model_folder("T").parent / MODELS_FILE
    with ExitStack() as stack:
        server = Server(
            bench.scratch("queue"),
            models_file,
            command="api",
            database_url=database_url,
            BACKDROP_MAX_QUEUED_TASKS=str(10**6),
        )
        stack.callback(server.stop)
        store = server.store()
        stack.callback(store.close)
        client = server.client()
        stack.callback(client.close)
        body = client.generate_body(request_of(bench.shape("T")))
        uid = client.submit(body)
        yield _Queue(client, store, body, [uid, *_copies(store, uid, num_queued - 1)])


def _copies(store: SqlTaskStore, uid: str, count: int) -> list[str]:
    """Stores `count` further tasks like that one; their uids."""
    record = store.get(uid)
    assert record is not None
    told = {field.name: getattr(record, field.name) for field in dataclasses.fields(NewTask)}
    uids = [new_uid() for _ in range(count)]
    for each in uids:
        store.put(NewTask(**{**told, "uid": each}))
    return uids


def bytes_of_a_task(bench: Bench) -> Sequence[Measure]:
    """Row 20: what the data folder grows by a queued task, its uploads left out."""
    folder, count = bench.scratch("bytes"), bench.sizes.many
    few, many = _queued_bytes(bench, folder, 1), _queued_bytes(bench, folder, count)
    return [
        Measure(
            "bytes on the disk of a queued task besides its inputs",
            (many - few) / count / 1024,
            "KiB",
            Limit(16, 4),
            note=f"blocks of the whole data folder less those of the uploads, over {count:,} tasks",
        )
    ]


def _queued_bytes(bench: Bench, folder: Path, count: int) -> int:
    """Bytes on the disk once `count` more tasks are queued and the server has ended."""
    models_file = bench.model_folder("T").parent / MODELS_FILE
    server = Server(folder, models_file, command="api")
    try:
        client = server.client()
        for index in range(count):
            client.submit(client.generate_body(request_of(bench.shape("T"), index)))
        client.close()
    finally:
        server.stop()  # the log of the database is folded into its file
    return _disk_bytes(server.settings.data_dir)


def _disk_bytes(folder: Path) -> int:
    """Bytes of the disk's blocks under `folder`, without those of uploads."""
    return sum(
        512 * path.lstat().st_blocks
        for path in folder.rglob("*")
        if path.is_dir() or not path.is_relative_to(folder / "blobs" / "in")
    )


ROWS = (
    Row(19, "cost of a deep queue", depth, "T"),
    Row(20, "bytes of a queued task", bytes_of_a_task, "T"),
)
