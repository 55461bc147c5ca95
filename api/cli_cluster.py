"""`backdrop cluster`: workers on the machines of a Ray cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from api import cluster_command
from api.cli_options import DataDir, Models, settings_of

cluster_app = typer.Typer(help="Workers on the machines of a Ray cluster.", no_args_is_help=True)

RayAddress = Annotated[
    str | None,
    typer.Option(
        "--address", help="HOST:PORT of the head; default RAY_ADDRESS, else this machine."
    ),
]


@cluster_app.command("up")
def cluster_up(
    address: RayAddress = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Default as many as there is room for.")
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="Cores of each worker, which then uses no GPU.")
    ] = None,
    data_dir: DataDir = None,
    models: Models = None,
) -> None:
    """Start a worker on every GPU of the cluster, or on its CPUs where it has no GPU.

    Settings given here go to every worker; what is not given, each machine's environment has.
    """
    settings = settings_of(data_dir=data_dir, models=models)
    cluster_command.up(address, settings, num_workers=workers, num_cpus=cpus)


@cluster_app.command("status")
def cluster_status(address: RayAddress = None) -> None:
    """Tell where every worker runs; status 1 unless all do."""
    if not cluster_command.status(address):
        raise typer.Exit(1)


@cluster_app.command("scale")
def cluster_scale(
    workers: Annotated[int, typer.Argument(min=1, help="How many there shall be.")],
    address: RayAddress = None,
) -> None:
    """Start more workers like those that run, or drain some."""
    cluster_command.scale(address, workers)


@cluster_app.command("down")
def cluster_down(address: RayAddress = None) -> None:
    """Drain and end all workers; their tasks stay in the store."""
    cluster_command.down(address)
