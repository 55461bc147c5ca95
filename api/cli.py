"""The command `backdrop`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from api import models_command
from api.blobs import BlobError
from api.cli_cluster import cluster_app
from api.cli_keys import keys_app
from api.cli_options import AsJson, DataDir, Models, UsageFault, naming_what_failed, settings_of
from api.cluster import ClusterFault
from api.devices import find_devices
from api.doctor.command import probe, report
from api.doctor.installation import check_installation
from api.errors import ApiError, TaskStoreError
from api.generate import job_from_files, write_images
from api.instruments.logs import set_up_logging
from api.instruments.top import show_top
from api.instruments.worker_endpoint import own_metrics
from api.job_options import JobOptions, with_job_options
from api.models_pull import PullFailed
from api.process import set_library_environment
from api.server import serve as run_server
from api.server import work
from api.settings import Settings
from api.sweeps.axes import BadAxis
from api.sweeps.command import AXIS_HELP, SWEEP_EXAMPLES, plan_from_files, sweep_into
from api.sweeps.folder import SweepRefused
from api.ui.mount import PageNotInstalled
from engine.errors import EngineError
from engine.registry import load_registry

USER_ERROR = 2

app = typer.Typer(
    help="Backgrounds painted around product cut-outs: the server, its workers, and a local run.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="Models of models.yaml.", no_args_is_help=True)
app.add_typer(cluster_app, name="cluster")
app.add_typer(models_app, name="models")
app.add_typer(keys_app, name="keys")

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")]
Keys = Annotated[
    list[str] | None, typer.Option("--key", help="A key pair PUBLIC:PRIVATE; may be repeated.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda:0, ...; default what is there.")]


_MENDABLE = (
    UsageFault,
    ClusterFault,
    PullFailed,
    PageNotInstalled,
    ApiError,
    BlobError,
    EngineError,
    TaskStoreError,
    BadAxis,
    SweepRefused,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command; what a user can mend ends in one line and status 2."""
    set_library_environment()
    set_up_logging("backdrop", "text")
    try:
        app(args=arguments)
    except _MENDABLE as exc:
        typer.echo(f"backdrop: {'; '.join(str(exc).splitlines())}", err=True)
        sys.exit(USER_ERROR)


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    models: Models = None,
    key: Keys = None,
) -> None:
    """Run the API and a worker on every device.

    The first line printed is the base URL. Every setting is also an environment variable
    BACKDROP_<NAME> or a key of the YAML file that BACKDROP_SETTINGS_FILE names.
    """
    settings = settings_of(host=host, port=port, data_dir=data_dir, models=models, keys=key)
    _serve(settings, _devices(settings))


@app.command()
def api(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    models: Models = None,
    key: Keys = None,
) -> None:
    """Run the API alone; workers run elsewhere, on the same data folder."""
    settings = settings_of(host=host, port=port, data_dir=data_dir, models=models, keys=key)
    _serve(settings, [])


@app.command()
def worker(data_dir: DataDir = None, models: Models = None, device: Device = None) -> None:
    """Run a worker on every device, without the API."""
    settings = settings_of(data_dir=data_dir, models=models)
    set_up_logging("supervisor", settings.log_format)
    with naming_what_failed(settings), own_metrics(settings):
        work(settings, devices=[device] if device else _devices(settings))


@app.command()
def top(
    data_dir: DataDir = None,
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a second, or with --once just one.")
    ] = False,
) -> None:
    """Watch the queue, the workers, their tasks, and what failed last."""
    settings = settings_of(data_dir=data_dir)
    with naming_what_failed(settings):
        show_top(settings, once=once, as_json=json)


@app.command()
@with_job_options
def generate(
    job: JobOptions,
    foreground: Annotated[Path, typer.Option(help="The item to keep: a PNG with alpha.")],
    output: Annotated[
        Path, typer.Option(help="Folder of the results; no file is replaced.")
    ] = Path(),
    batch_size: Annotated[int | None, typer.Option(help="1 to 16.")] = None,
    models: Models = None,
    device: Device = None,
) -> None:
    """Paint backgrounds without a server: files in, files out."""
    settings = settings_of(models=models)
    registry = load_registry(settings.models)
    failed = False
    with naming_what_failed(settings):
        generation_job = job_from_files(
            job.fields() | {"BatchSize": batch_size},
            foreground=foreground,
            reference=job.reference,
            settings=settings,
            registry=registry,
        )
        for result in write_images(
            generation_job,
            registry=registry,
            device=device or _devices(settings)[0],
            folder=output,
            settings=settings,
        ):
            failed = failed or isinstance(result, EngineError)
            typer.echo(str(result), err=isinstance(result, EngineError))
    if failed:
        raise typer.Exit(1)


@app.command(epilog=SWEEP_EXAMPLES)
@with_job_options
def sweep(
    job: JobOptions,
    foreground: Annotated[Path, typer.Argument(help="The item to keep: a PNG with alpha.")],
    axis: Annotated[list[str], typer.Option(help=AXIS_HELP)],
    output: Annotated[
        Path, typer.Option(help="Folder of pictures and reports: a new one, or that to go on with.")
    ] = Path("sweep"),
    as_json: AsJson = False,
    models: Models = None,
    device: Device = None,
) -> None:
    """Paint one job at every combination of values, and compare.

    Writes contact sheets, an HTML report, CSV and JSON beside the pictures.
    Called again with the same arguments, a stopped sweep goes on.

    Status 0: every point is painted; 1: some failed; 2: the arguments cannot
    be used; 130: interrupted.
    """
    settings = settings_of(models=models)
    registry = load_registry(settings.models)
    with naming_what_failed(settings):
        plan = plan_from_files(
            job, axis, foreground=foreground, output=output, settings=settings, registry=registry
        )
        try:
            outcome = sweep_into(
                output,
                plan,
                registry=registry,
                device=device or _devices(settings)[0],
                settings=settings,
            )
        except KeyboardInterrupt:
            typer.echo("backdrop: interrupted; the same command goes on from here", err=True)
            raise typer.Exit(130) from None
    for line in outcome.failed:
        typer.echo(f"backdrop: {line}", err=True)
    typer.echo(outcome.as_json() if as_json else "\n".join(map(str, outcome.files)))
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def doctor(
    url: Annotated[
        str | None, typer.Option(help="Look at the server there instead; needs --key.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="PUBLIC:PRIVATE, for --url.", envvar="BACKDROP_DOCTOR_KEY")
    ] = None,
    generate: Annotated[
        bool, typer.Option("--generate", help="With --url: also make a task; costs credits.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Findings as JSON.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the devices, which load torch.")
    ] = False,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    models: Models = None,
) -> None:
    """Check this installation and say what to do; or how a server keeps to the protocol.

    Ends with status 1 where a check fails.
    """
    if url is not None:
        public, _, private = (key or "").partition(":")
        if not (public and private):
            raise UsageFault("--url needs --key PUBLIC:PRIVATE")
        findings = probe(url, public, private, generate=generate)
    else:
        settings = settings_of(host=host, port=port, data_dir=data_dir, models=models)
        findings = check_installation(settings, _devices(settings), quick=quick)
    if not report(findings, as_json=as_json):
        raise typer.Exit(1)


@models_app.command("list")
def list_models(models: Models = None) -> None:
    """List the models that requests may name."""
    models_command.list_models(settings_of(models=models).models)


@models_app.command("check")
def check_models(models: Models = None) -> None:
    """Compare every entry with its files: family, channels, memory and all that does not fit."""
    if not models_command.check_models(settings_of(models=models).models):
        raise typer.Exit(1)


@models_app.command("pull")
def pull_models(
    names: Annotated[list[str] | None, typer.Argument(help="Entries; default all.")] = None,
    models: Models = None,
) -> None:
    """Download the entries that name a source, on a machine that has a network."""
    if not models_command.pull_models(settings_of(models=models).models, names or []):
        raise typer.Exit(1)


def _serve(settings: Settings, devices: Sequence[str]) -> None:
    set_up_logging("api", settings.log_format)
    with naming_what_failed(settings):
        run_server(settings, devices=devices, say=typer.echo)


def _devices(settings: Settings) -> list[str]:
    return settings.devices or find_devices(os.environ)
