"""The command `backdrop`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from api import models_command
from api.devices import find_devices
from api.errors import ApiError, TaskStoreError
from api.generate import job_from_files, write_images
from api.job_options import JobOptions, UsageFault, with_job_options
from api.keys import KeyRing
from api.models_pull import PullFailed
from api.process import set_library_environment
from api.server import serve as run_server
from api.server import tell_new_pair
from api.settings import Settings
from api.store import open_store
from api.supervisor import run_supervisor
from api.sweeps.axes import BadAxis
from api.sweeps.command import AXIS_HELP, SWEEP_EXAMPLES, plan_from_files, sweep_into
from api.sweeps.folder import SweepRefused
from api.wire_types import field_path
from engine.errors import EngineError
from engine.registry import load_registry

USER_ERROR = 2
FAULTS = (UsageFault, PullFailed, ApiError, EngineError, TaskStoreError, BadAxis, SweepRefused)

app = typer.Typer(
    help="Backgrounds painted around product cut-outs: the server, its workers, and a local run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="Models of models.yaml.", no_args_is_help=True)
keys_app = typer.Typer(help="Key pairs of callers.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(keys_app, name="keys")

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the task store and the images.")]
Models = Annotated[Path | None, typer.Option(help="Path of models.yaml.")]
Keys = Annotated[
    list[str] | None, typer.Option("--key", help="A key pair PUBLIC:PRIVATE; may be repeated.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda:0, ...; default what is there.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command; what a user can mend ends in one line and status 2."""
    set_library_environment()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        app(args=arguments)
    except FAULTS as exc:
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
    settings = _settings(host=host, port=port, data_dir=data_dir, models=models, keys=key)
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
    settings = _settings(host=host, port=port, data_dir=data_dir, models=models, keys=key)
    _serve(settings, [])


@app.command()
def worker(data_dir: DataDir = None, models: Models = None, device: Device = None) -> None:
    """Run the worker of one device, in this process."""
    settings = _settings(data_dir=data_dir, models=models)
    load_registry(settings.models)
    with _naming_what_failed(settings):
        run_supervisor(settings, device or _devices(settings)[0])


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
    settings = _settings(models=models)
    registry = load_registry(settings.models)
    failed = False
    with _naming_what_failed(settings):
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
    as_json: Annotated[bool, typer.Option("--json", help="Tell the outcome as JSON.")] = False,
    models: Models = None,
    device: Device = None,
) -> None:
    """Paint one job at every combination of values, and compare.

    Writes contact sheets, an HTML report, CSV and JSON beside the pictures.
    Called again with the same arguments, a stopped sweep goes on.

    Status 0: every point is painted; 1: some failed; 2: the arguments cannot
    be used; 130: interrupted.
    """
    settings = _settings(models=models)
    registry = load_registry(settings.models)
    with _naming_what_failed(settings):
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


@models_app.command("list")
def list_models(models: Models = None) -> None:
    """List the models that requests may name."""
    models_command.list_models(_settings(models=models).models)


@models_app.command("check")
def check_models(models: Models = None) -> None:
    """Compare every entry with its files: family, channels, memory and all that does not fit."""
    if not models_command.check_models(_settings(models=models).models):
        raise typer.Exit(1)


@models_app.command("pull")
def pull_models(
    names: Annotated[list[str] | None, typer.Argument(help="Entries; default all.")] = None,
    models: Models = None,
) -> None:
    """Download the entries that name a source, on a machine that has a network."""
    if not models_command.pull_models(_settings(models=models).models, names or []):
        raise typer.Exit(1)


@keys_app.command("add")
def add_key(
    data_dir: DataDir = None,
    label: Annotated[str, typer.Option(help="A note on whose it is.")] = "",
) -> None:
    """Make a key pair and print it; the private half is never shown again."""
    settings = _settings(data_dir=data_dir)
    with _naming_what_failed(settings):
        store = open_store(settings)
        tell_new_pair(KeyRing(store.database), label=label, say=typer.echo)
        store.close()


def _serve(settings: Settings, devices: Sequence[str]) -> None:
    with _naming_what_failed(settings):
        run_server(settings, devices=devices, say=typer.echo)


def _devices(settings: Settings) -> list[str]:
    return settings.devices or find_devices(os.environ)


def _settings(*, keys: Sequence[str] | None = None, **given: Any) -> Settings:
    """Settings from the options that were given, then environment, file and defaults."""
    options = {name: value for name, value in given.items() if value is not None}
    if keys:
        options["keys"] = [SecretStr(pair) for pair in keys]
    try:
        return Settings(**options)
    except ValidationError as exc:
        reasons = [
            f"{field_path(error['loc'])}: {error['msg'].removeprefix('Value error, ')}"
            for error in exc.errors(include_input=False, include_url=False)
        ]
        raise UsageFault(f"setting {'; '.join(reasons)}") from exc
    except (SettingsError, OSError) as exc:
        raise UsageFault(str(exc)) from exc


@contextmanager
def _naming_what_failed(settings: Settings) -> Iterator[None]:
    """Turns what the system refuses (ports, folders, files) into a line for the user."""
    try:
        yield
    except OSError as exc:
        address = f"{settings.host}:{settings.port}"
        place = exc.filename or f"address {address} or data folder {settings.data_dir}"
        raise UsageFault(f"{place}: {exc.strerror or exc}") from exc
