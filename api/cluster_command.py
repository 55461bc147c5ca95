"""`backdrop cluster ...`: what the workers of a Ray cluster do, told in lines."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from api.cluster import WorkerState, connected
from api.settings import Settings


def up(
    address: str | None, settings: Settings, *, num_workers: int | None, num_cpus: int | None
) -> None:
    """Start workers; see `Cluster.up`."""
    with connected(address) as cluster:
        _tell(cluster.up(settings, num_workers=num_workers, num_cpus=num_cpus))


def status(address: str | None) -> bool:
    """Tell of every worker; whether there are any and all run."""
    with connected(address) as cluster:
        states = cluster.status()
    _tell(states)
    return bool(states) and all(state.health is not None for state in states)


def scale(address: str | None, num_workers: int) -> None:
    """Bring the number of workers to `num_workers`; see `Cluster.scale`."""
    with connected(address) as cluster:
        cluster.scale(num_workers)
        _tell(cluster.status())


def down(address: str | None) -> None:
    """Drain and end all workers."""
    with connected(address) as cluster:
        count = cluster.down()
    typer.echo(f"workers ended: {count}")


def _tell(states: Sequence[WorkerState]) -> None:
    for state in states:
        typer.echo(f"{state.name}  {_line(state)}")
    if not states:
        typer.echo("no workers")


def _line(state: WorkerState) -> str:
    health = state.health
    if health is None:
        return f"does not run: {state.trouble}" if state.trouble else "starts, or waits for room"
    return (
        f"runs on {health.machine} {health.device}, process {health.pid}, "
        f"for {health.uptime_s:.0f} s"
    )
