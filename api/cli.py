"""The command `backdrop`."""

from __future__ import annotations

import logging
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
from api.cli_options import DataDir, Models, UsageFault, naming_what_failed, settings_of
from api.cluster import ClusterFault
from api.devices import find_devices
from api.doctor.command import probe, report
from api.doctor.installation import check_installation
from api.errors import ApiError, TaskStoreError
from api.generate import job_from_files, write_images
from api.instruments.logs import set_up_logging
from api.instruments.top import show_top
from api.instruments.worker_endpoint import own_metrics
from api.models_pull import PullFailed
from api.process import set_library_environment
from api.protocol import SAMPLER_NAMES, ResizeModeName
from api.server import serve as run_server
from api.server import work
from api.settings import Settings
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
app.add_typer(cluster_app, name="cluster")
app.add_typer(models_app, name="models")
app.add_typer(keys_app, name="keys")

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")]
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
    except (
        UsageFault,
        ClusterFault,
        PullFailed,
        ApiError,
        BlobError,
        EngineError,
        TaskStoreError,
    ) as exc:
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
    settings = settings_of(models=models)
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
    with naming_what_failed(settings):
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
