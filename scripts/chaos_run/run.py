"""One run: a calm part, the faults, a wait for what is still open, and the audit."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from api.settings import Settings
from api.store import open_store
from scripts.chaos_run.audit import gather
from scripts.chaos_run.cluster import Cluster, stopping
from scripts.chaos_run.customers import Book, Customer
from scripts.chaos_run.disk import Disk
from scripts.chaos_run.faults import API, DATABASE, OBJECTS, schedule, weights
from scripts.chaos_run.injector import Injector
from scripts.chaos_run.journal import Journal
from scripts.chaos_run.orders import KEYS, NUM_VARIANTS
from scripts.chaos_run.relay import Relay, Relays
from scripts.chaos_run.report import report
from scripts.chaos_run.servers import ObjectServer, PostgresqlServer, Server
from scripts.chaos_run.verdict import judge
from scripts.chaos_run.witness import station

_NUM_API, _CUSTOMERS_PER_KEY = 2, 2
_PATIENCE_S = 600.0


@dataclass(frozen=True)
class Options:
    """What a run is.

    Attributes:
        folder: all of it lies there, and a run that is started again goes on there.
        store: sqlite or postgresql.
        blobs: local or s3.
        stand_in: children that load no torch.
        num_tasks: at least so many are accepted.
        num_kills: at least so many processes are killed.
        max_child_kills: at most so many of them are children of torch.
        minutes: then no more is done, targets reached or not.
        pace_s: mean time between two faults.
        lease_s: setting of the service.
        seed: of the schedule of faults.
    """

    folder: Path
    store: str = "sqlite"
    blobs: str = "local"
    stand_in: bool = False
    num_tasks: int = 2000
    num_kills: int = 500
    max_child_kills: int = 60
    minutes: float = 60.0
    pace_s: float = 1.0
    lease_s: float = 3.0
    seed: int = 1

    def described(self) -> dict[str, Any]:
        """For the report."""
        plain = {k: v for k, v in asdict(self).items() if k not in ("folder", "stand_in")}
        return {**plain, "children": "stand-in" if self.stand_in else "torch"}


@dataclass(frozen=True)
class _Surroundings:
    """What the service runs on."""

    disk: Disk
    servers: dict[str, Server]
    relays: dict[str, list[Relay]]
    environment: dict[str, str]
    api_ports: list[int]

    @property
    def settings(self) -> Settings:
        """As the service's processes read them."""
        fields = {
            name.removeprefix("BACKDROP_").lower(): value
            for name, value in self.environment.items()
        }
        return Settings.model_validate(fields)


def run(options: Options, say: Callable[[str], object], stop: Callable[[], bool]) -> dict[str, Any]:
    """The report of a run that is begun or gone on with.

    Args:
        options: of the run.
        say: gets a line of progress now and then.
        stop: whether to come to an end before the targets are reached.
    """
    with ExitStack() as stack:
        journal = Journal(options.folder / "journal.jsonl")
        stack.callback(journal.close)
        around = stack.enter_context(_surroundings(options))
        store = open_store(around.settings)
        station(store)
        store.close()
        cluster = stack.enter_context(stopping(_cluster(options, around, journal)))
        book = Book(journal, limit=NUM_VARIANTS)
        stack.callback(book.stop.set)
        customers = _Customers(around, book, journal)
        customers.start()
        if not cluster.tend_until(customers.are_done, timeout_s=_PATIENCE_S):
            raise RuntimeError(
                f"the tasks before the first fault do not end; see the logs in {options.folder}"
            )
        say(f"{book.num_accepted} tasks so far, all of them ended; now the faults")
        injector = _injector(options, around, cluster, journal)
        _break_things(options, cluster, injector, book, customers, say, stop)
        injector.calm_down()
        cluster.tend_until(customers.are_done, timeout_s=_PATIENCE_S)
        cluster.stop()
        book.stop.set()
        customers.join()
        evidence = gather(journal, around.settings)
        result = report(evidence, judge(evidence), journal, options.described())
        result["disk could be filled"] = around.disk.can_be_filled
        return result


def _break_things(
    options: Options,
    cluster: Cluster,
    injector: Injector,
    book: Book,
    customers: _Customers,
    say: Callable[[str], object],
    stop: Callable[[], bool],
) -> None:
    deadline, told_at = time.monotonic() + 60 * options.minutes, time.monotonic()
    # Orders go on until both targets are reached: what is killed shall have something to do.
    book.raise_limit(2**31)
    customers.start()
    while not stop() and time.monotonic() < deadline:
        if book.num_accepted >= options.num_tasks and injector.num_kills >= options.num_kills:
            break
        cluster.tend()
        # Neither target is reached long before the other.
        share_killed = injector.num_kills / max(options.num_kills, 1)
        injector.step(may_break=share_killed <= book.num_accepted / options.num_tasks + 0.02)
        time.sleep(0.02)
        if time.monotonic() - told_at > 15:
            told_at = time.monotonic()
            say(f"{book.num_accepted} tasks accepted, {injector.num_kills} kills")
    book.raise_limit(0)


class _Customers:
    """Those of both keys, who can be started anew once they are done."""

    def __init__(self, around: _Surroundings, book: Book, journal: Journal) -> None:
        self._ports = [relay.port for relay in around.relays[API]]
        self._book = book
        self._journal = journal
        self._threads: list[Customer] = []

    def start(self) -> None:
        """Start them."""
        self._threads = [
            Customer(owner, self._ports[:: 1 if index % 2 else -1], self._book, self._journal)
            for owner in KEYS
            for index in range(_CUSTOMERS_PER_KEY)
        ]
        for thread in self._threads:
            thread.start()

    def are_done(self) -> bool:
        """Whether all have seen the end of all their tasks."""
        return not any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        """Wait until they have stopped."""
        for thread in self._threads:
            thread.join()


@contextmanager
def _surroundings(options: Options) -> Iterator[_Surroundings]:
    with ExitStack() as stack:
        disk = Disk(options.folder / "disk")
        disk.free()
        ways = Relays()
        stack.callback(ways.close)
        ports = _free_ports(_NUM_API)
        relays = {API: [ways.add(_to_port(port)) for port in ports]}
        servers: dict[str, Server] = {}
        environment = _environment(options, disk)
        if options.store == "postgresql":
            database = PostgresqlServer(options.folder / "postgresql")
            stack.callback(database.close)
            relays[DATABASE] = [ways.add(lambda: database.socket)]
            servers[DATABASE] = database
            url = database.url(relays[DATABASE][0].port)
            environment["BACKDROP_DATABASE_URL"] = url.render_as_string(hide_password=False)
        if options.blobs == "s3":
            objects = ObjectServer(options.folder / "s3")
            stack.callback(objects.close)
            relays[OBJECTS] = [ways.add(_to_port(objects.port))]
            servers[OBJECTS] = objects
            environment |= objects.settings(relays[OBJECTS][0].port)
        yield _Surroundings(disk, servers, relays, environment, ports)


def _environment(options: Options, disk: Disk) -> dict[str, str]:
    return {
        "BACKDROP_DATA_DIR": str(disk.folder / "data"),
        "BACKDROP_KEYS": ",".join(f"{public}:{private}" for public, private in KEYS.items()),
        "BACKDROP_LEASE_S": str(options.lease_s),
        "BACKDROP_IDEMPOTENCY_KEYS": "true",
        "BACKDROP_BATCH_INVARIANT": "true",  # every picture is comparable to the bit
        "BACKDROP_MIN_FREE_DISK_BYTES": str(16 * 2**20),
        "BACKDROP_MAX_LATENT_AREA": "512",  # else each forward is padded to 16 such pictures, not 8
        "BACKDROP_CPU_THREADS": "1",
        "BACKDROP_MAX_TASKS_PER_WORKER": "8",
        "BACKDROP_WARM_SPARE": str(options.stand_in),  # of torch it would cost the other's cores
        "BACKDROP_CHILD_SILENCE_S": str(2 * options.lease_s if options.stand_in else 60.0),
    }


def _cluster(options: Options, around: _Surroundings, journal: Journal) -> Cluster:
    logs = options.folder / "logs"
    logs.mkdir(exist_ok=True)
    return Cluster(
        around.environment,
        ports=around.api_ports,
        num_supervisors=2 if options.stand_in else 1,
        stand_in=options.stand_in,
        logs=logs,
        journal=journal,
    )


def _injector(
    options: Options, around: _Surroundings, cluster: Cluster, journal: Journal
) -> Injector:
    done = sum(entry["kind"] == "fault" for entry in journal.entries())
    faults = schedule(
        options.seed,
        weights(
            postgresql=options.store == "postgresql",
            s3=options.blobs == "s3",
            stand_in=options.stand_in,
        ),
        pace_s=options.pace_s,
        lease_s=options.lease_s,
        skip=done,
    )
    return Injector(
        cluster,
        around.servers,
        around.relays,
        around.disk,
        faults,
        journal,
        max_real_child_kills=None if options.stand_in else options.max_child_kills,
    )


def _to_port(port: int) -> Callable[[], tuple[str, int]]:
    return lambda: ("127.0.0.1", port)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]
