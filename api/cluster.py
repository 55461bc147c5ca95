"""Workers on the machines of a Ray cluster.

Ray places one actor for each device, restarts it elsewhere when its machine is lost, and keeps
their names. The queue is the task store as everywhere: Ray carries no task.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.cluster_worker import ClusterWorker, Health, Order
from api.fleet import STOP_TIMEOUT_S
from api.settings import MAX_DRAIN_S, Settings

NAMESPACE = "backdrop"
_PREFIX = "worker-"
START_TIMEOUT_S = 20.0  # a worker that finds room is up in seconds
ANSWER_TIMEOUT_S = 5.0  # one that runs answers in milliseconds
_FORGET_TIMEOUT_S = 10.0  # until Ray knows the name of a killed actor no more
# Not of workers, or another one for each worker of a machine.
_NOT_SENT = {"keys", "host", "port", "public_base_url", "devices", "metrics_port"}


class ClusterFault(Exception):
    """The cluster cannot do this; told in one line."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker; without `health` it starts, or waits for a machine with a free device."""

    name: str
    health: Health | None
    trouble: str = ""  # why Ray gave it up, or what its machine lacks


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """The Ray cluster there, as long as the block runs.

    Args:
        address: HOST:PORT of its head; default RAY_ADDRESS, else the cluster of this machine.

    Raises:
        ClusterFault: Ray is not installed, or there is no such cluster.
    """
    try:
        import ray  # heavy, and an extra
    except ImportError as exc:
        raise ClusterFault("Ray is not installed: pip install 'backdrop[ray]'") from exc
    address = address or os.environ.get("RAY_ADDRESS", "auto")
    _check_reachable(address)
    try:
        ray.init(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as exc:
        raise ClusterFault(f"Ray cluster {address}: {exc}") from exc
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes where nothing listens."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal()):
        return  # "auto"; Ray judges the rest
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_TIMEOUT_S).close()
    except (OSError, OverflowError) as exc:
        raise ClusterFault(f"Ray cluster {address}: {exc}") from exc


class Cluster:
    """The workers of a cluster that this process is connected to.

    Args:
        ray: the module, connected.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def up(
        self, settings: Settings, *, num_workers: int | None, num_cpus: int | None
    ) -> list[WorkerState]:
        """Start workers; what does not run soon waits for room, and Ray places it when it comes.

        Args:
            settings: those that were given go to every worker, but no keys.
            num_workers: default as many as there is room for.
            num_cpus: of a worker on CPU cores. Default: one GPU each where the cluster has GPUs,
                else the cores of the smallest machine.

        Raises:
            ClusterFault: workers run already, could not share the task store, or cannot start.
        """
        if self._names():
            raise ClusterFault(
                "workers run already: `cluster scale` changes their number, `cluster down` ends them"
            )
        machines = self._machines()
        _check_shared_store(settings, {machine["NodeManagerHostname"] for machine in machines})
        share, room = _share_and_room([machine["Resources"] for machine in machines], num_cpus)
        values = _values_to_send(settings)
        if not share["num_gpus"]:
            values.setdefault("cpu_threads", share["num_cpus"])
        return self._start(range(num_workers or room), Order(values, **share))

    def scale(self, num_workers: int) -> None:
        """Start more workers like those that run, or drain some.

        Raises:
            ClusterFault: none runs that others could be made like, or they cannot start.
        """
        states = self.status()
        if num_workers <= len(states):
            # Those that wait for a machine go first, then the last ones.
            by_use = sorted(states, key=lambda state: state.health is None)
            self._end(by_use[num_workers:])
            return
        running = [state.name for state in states if state.health is not None]
        if not running:
            raise ClusterFault("no worker runs that others could be made like: `cluster up`")
        order = self._ray.get(self._actor(running[0]).order.remote(), timeout=ANSWER_TIMEOUT_S)
        taken = {state.name for state in states}
        free = [index for index in range(num_workers) if f"{_PREFIX}{index}" not in taken]
        self._start(free[: num_workers - len(states)], order)

    def down(self) -> int:
        """Drain and end all workers; returns how many there were."""
        states = self.status()
        self._end(states)
        return len(states)

    def status(self) -> list[WorkerState]:
        """Every worker that Ray knows, by number."""
        actors = {name: self._actor(name) for name in self._names()}
        return self._ask(actors, timeout_s=ANSWER_TIMEOUT_S)

    def _ask(self, actors: Mapping[str, Any], *, timeout_s: float) -> list[WorkerState]:
        asked = {name: actor.health.remote() for name, actor in actors.items()}
        ready = self._wait(list(asked.values()), timeout_s=timeout_s)
        return [self._state(name, answer, answer in ready) for name, answer in asked.items()]

    def _state(self, name: str, answer: Any, is_ready: bool) -> WorkerState:
        if not is_ready:
            return WorkerState(name, None)
        try:
            return WorkerState(name, self._ray.get(answer))
        except self._ray.exceptions.ActorUnavailableError:
            return WorkerState(name, None)  # its machine is lost, and there is no room elsewhere
        except self._ray.exceptions.RayError as exc:
            return WorkerState(name, None, str(exc).strip().splitlines()[-1])

    def _start(self, indexes: Sequence[int], order: Order) -> list[WorkerState]:
        make = self._ray.remote(ClusterWorker)
        actors = {
            name: make.options(
                name=name,
                namespace=NAMESPACE,
                lifetime="detached",  # it outlives this command
                max_restarts=-1,
                num_gpus=order.num_gpus,
                num_cpus=order.num_cpus,
                scheduling_strategy="SPREAD",
            ).remote(order)
            for name in (f"{_PREFIX}{index}" for index in indexes)
        }
        states = self._ask(actors, timeout_s=START_TIMEOUT_S)
        failed = [state for state in states if state.trouble]
        if failed:  # Ray forgets an actor that cannot be made: this is the time to tell why
            for actor in actors.values():
                self._ray.kill(actor, no_restart=True)
            raise ClusterFault(f"{failed[0].name} cannot start: {failed[0].trouble}")
        return states

    def _end(self, states: Sequence[WorkerState]) -> None:
        drained = [
            self._actor(state.name).drain.remote() for state in states if state.health is not None
        ]
        self._wait(drained, timeout_s=MAX_DRAIN_S + STOP_TIMEOUT_S + ANSWER_TIMEOUT_S)
        for state in states:
            self._ray.kill(self._actor(state.name), no_restart=True)
        deadline = time.monotonic() + _FORGET_TIMEOUT_S
        while {state.name for state in states} & set(self._names()):
            if time.monotonic() > deadline:
                raise ClusterFault("Ray does not end the workers; `cluster status` tells which")
            time.sleep(0.1)

    def _wait(self, answers: list[Any], *, timeout_s: float) -> list[Any]:
        if not answers:
            return []
        ready: list[Any] = self._ray.wait(answers, num_returns=len(answers), timeout=timeout_s)[0]
        return ready

    def _names(self) -> list[str]:
        numbers = [
            int(name.removeprefix(_PREFIX))
            for name in self._ray.util.list_named_actors()
            if name.startswith(_PREFIX)
        ]
        return [f"{_PREFIX}{number}" for number in sorted(numbers)]

    def _actor(self, name: str) -> Any:
        try:
            return self._ray.get_actor(name, namespace=NAMESPACE)
        except ValueError as exc:
            raise ClusterFault(f"{name} ended meanwhile; try again") from exc

    def _machines(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]


def _share_and_room(
    machines: Sequence[dict[str, float]], num_cpus: int | None
) -> tuple[dict[str, int], int]:
    """What one worker takes, and how many find room on machines with these resources."""
    num_gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
    if num_gpus and num_cpus is None:
        return {"num_gpus": 1, "num_cpus": 0}, num_gpus  # no GPU idles for want of a CPU slot
    cores = [int(machine["CPU"]) for machine in machines if machine.get("CPU", 0) >= 1]
    each = num_cpus or min(cores, default=0)
    room = sum(count // each for count in cores) if each else 0
    if not room:
        raise ClusterFault("no machine of the cluster has a GPU, or so many CPUs to spare")
    return {"num_gpus": 0, "num_cpus": each}, room


def _check_shared_store(settings: Settings, hosts: set[str]) -> None:
    """SQLite files serve one machine: they must never lie on a network file system."""
    url = settings.model_dump(include={"database_url"}).get("database_url")
    if url is not None and not url.get_secret_value().startswith("sqlite"):
        return
    if len(hosts) > 1:
        raise ClusterFault(
            f"{len(hosts)} machines cannot share a SQLite file: set BACKDROP_DATABASE_URL"
        )
    if "data_dir" not in settings.model_fields_set:
        raise ClusterFault("name the folder that the API uses: --data-dir or BACKDROP_DATA_DIR")


def _values_to_send(settings: Settings) -> dict[str, Any]:
    """The settings that were given here, for machines whose working folder is another."""
    values = {
        name: getattr(settings, name) for name in settings.model_fields_set if name not in _NOT_SENT
    }
    return {
        name: value.absolute() if isinstance(value, Path) else value
        for name, value in values.items()
    }
