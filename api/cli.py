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
from api.doctor.command import probe, report
from api.doctor.installation import check_installation
from api.errors import ApiError, TaskStoreError
from api.generate import job_from_files, write_images
from api.keys import KeyRing
from api.models_pull import PullFailed
from api.process import set_library_environment
from api.protocol import SAMPLER_NAMES, ResizeModeName
from api.server import serve as run_server
from api.server import tell_new_pair
from api.settings import Settings
from api.store import open_store
from api.supervisor import run_supervisor
from api.ui.mount import PageNotInstalled
from api.wire_types import field_path
from engine.errors import EngineError
from engine.registry import load_registry

USER_ERROR = 2

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


class UsageFault(Exception):
    """Something the user can mend; told in one line."""


_MENDABLE = (UsageFault, PullFailed, PageNotInstalled, ApiError, EngineError, TaskStoreError)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command; what a user can mend ends in one line and status 2."""
    set_library_environment()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
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
def generate(
    foreground: Annotated[Path, typer.Option(help="The item to keep: a PNG with alpha.")],
    output: Annotated[
        Path, typer.Option(help="Folder of the results; no file is replaced.")
    ] = Path(),
    prompt: Annotated[list[str] | None, typer.Option(help="What to paint; repeatable.")] = None,
    negative_prompt: Annotated[list[str] | None, typer.Option(help="What to avoid.")] = None,
    reference: Annotated[Path | None, typer.Option(help="A background reference.")] = None,
    refer_strength: Annotated[
        float | None, typer.Option(help="0 to 1; 1 stays as close to the reference as possible.")
    ] = None,
    resize_mode: Annotated[
        ResizeModeName, typer.Option(help="How both images are brought to size.")
    ] = ResizeModeName.RESIZE_AND_FILL,
    model: Annotated[str | None, typer.Option(help="See `backdrop models list`.")] = None,
    sub_model: Annotated[
        list[str] | None,
        typer.Option(help="A LoRA or embedding, NAME or NAME=WEIGHT, -1 to 2; repeatable."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="6 to 100.")] = None,
    sampler: Annotated[str | None, typer.Option(help=", ".join(SAMPLER_NAMES.values()))] = None,
    cfg_scale: Annotated[float | None, typer.Option(help="1 to 30.")] = None,
    clip_skip: Annotated[int | None, typer.Option(help="1 to 12.")] = None,
    seed: Annotated[int | None, typer.Option(help="-1 draws one.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="1 to 16.")] = None,
    width: Annotated[int | None, typer.Option(help="64 to 2560 pixels.")] = None,
    height: Annotated[int | None, typer.Option(help="64 to 2560 pixels.")] = None,
    models: Models = None,
    device: Device = None,
) -> None:
    """Paint backgrounds without a server: files in, files out."""
    settings = _settings(models=models)
    registry = load_registry(settings.models)
    inference = {"Steps": steps, "Sampler": sampler, "CFGScale": cfg_scale, "ClipSkip": clip_skip}
    background = None
    if reference is not None:
        background = {"ImageIndex": 1, "ReferStrength": refer_strength, "ResizeMode": resize_mode}
    elif refer_strength is not None:
        raise UsageFault("--refer-strength needs --reference")
    fields = {
        "MainModel": {"ModelCode": model, "InferenceParams": inference},
        "SubModelList": [_sub_model(text) for text in sub_model or ()],
        "PositivePrompts": prompt,
        "NegativePrompts": negative_prompt,
        "BackgroundImage2Image": background,
        "TransparentForeground": {"ImageIndex": 0, "ResizeMode": resize_mode},
        "Seed": seed,
        "BatchSize": batch_size,
        "Width": width,
        "Height": height,
    }
    failed = False
    with _naming_what_failed(settings):
        job = job_from_files(
            fields,
            foreground=foreground,
            reference=reference,
            settings=settings,
            registry=registry,
        )
        for result in write_images(
            job,
            registry=registry,
            device=device or _devices(settings)[0],
            folder=output,
            settings=settings,
        ):
            failed = failed or isinstance(result, EngineError)
            typer.echo(str(result), err=isinstance(result, EngineError))
    if failed:
        raise typer.Exit(1)


def _sub_model(text: str) -> dict[str, object]:
    """NAME or NAME=WEIGHT as an entry of SubModelList; a name may hold equals signs too."""
    name, equals, weight = text.rpartition("=")
    if not equals:
        return {"ModelCode": text}
    try:
        return {"ModelCode": name, "InferenceParams": {"LoraWeight": float(weight)}}
    except ValueError:
        raise UsageFault(f"--sub-model {text}: {weight!r} is not a weight") from None


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
        settings = _settings(host=host, port=port, data_dir=data_dir, models=models)
        findings = check_installation(settings, _devices(settings), quick=quick)
    if not report(findings, as_json=as_json):
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
