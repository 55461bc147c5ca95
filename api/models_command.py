"""`backdrop models list|check|pull`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import typer
from rich.console import Console
from rich.table import Table

from api.models_pull import PullFailed, pull
from api.protocol import SAMPLER_NAMES
from engine.registry import MainModel, load_registry, read_models_file
from engine.sub_models import SubModel
from engine.translation_model import TranslationModel

Entry: TypeAlias = MainModel | SubModel | TranslationModel

GIB = 2**30


def list_models(models_file: Path) -> None:
    """Prints the entries of models.yaml as tables.

    Raises:
        RegistryError: models.yaml cannot be used.
    """
    registry = load_registry(models_file)
    table = Table("ModelCode", "family", "native size", "Steps", "Sampler", "CFGScale")
    for model in registry.models.values():
        default = " (default)" if model.name == registry.default_model else ""
        family = "?" if model.name in registry.unusable else model.info.family
        table.add_row(
            model.name + default,
            family,
            f"{model.native_size_px} px",
            str(model.num_inference_steps),
            SAMPLER_NAMES[model.sampler],
            f"{model.guidance_scale:g}",
        )
    console = Console()
    console.print(table)
    if registry.sub_models:
        table = Table("ModelCode", "kind", "family", "LoraWeight", "TriggerWordList")
        for each in registry.sub_models.values():
            words = each.prompt_words if each.kind == "embedding" else each.trigger_words
            table.add_row(
                each.name,
                each.kind,
                "?" if each.name in registry.unusable else each.trained_on() or "?",
                f"{each.default_weight:g}" if each.kind == "lora" else "",
                ", ".join(words),
            )
        console.print(table)
    _print_problems(f"{name}: {line}" for name, line in registry.unusable.items())


def check_models(models_file: Path) -> bool:
    """Opens every entry without loading weights and prints what it is and what does not fit.

    Returns:
        Whether all is well.

    Raises:
        RegistryError: models.yaml itself is wrong.
    """
    from engine.model_check import ModelChecker  # imports torch

    entries = read_models_file(models_file)
    checker = ModelChecker()
    table = Table("ModelCode", "family", "channels", "prediction type", "memory in fp16", "")
    problems = []
    for model in entries.models:
        report = checker.check_main_model(model)
        size = "?" if report.num_bytes is None else f"{report.num_bytes / GIB:.2f} GiB"
        table.add_row(
            report.name,
            report.family or "?",
            str(report.in_channels or ""),
            report.prediction_type or "",
            size,
            "trouble" if report.problems else "ok",
        )
        problems += [f"{report.name}: {line}" for line in report.problems]
    console = Console()
    console.print(table)
    if entries.all_sub_models:
        table = Table("ModelCode", "kind", "family", "parts", "matched", "")
        for sub_model in entries.all_sub_models:
            found = checker.check_sub_model(sub_model)
            matches = [f"{each.num_matched} in {each.model_name}" for each in found.matches]
            table.add_row(
                found.name,
                found.kind,
                found.family or "?",
                str(found.num_parts or "?"),
                ", ".join(matches),
                "trouble" if found.problems else "ok",
            )
            problems += [f"{found.name}: {line}" for line in found.problems]
        console.print(table)
    _print_problems(problems)
    return not problems


def pull_models(models_file: Path, names: Sequence[str]) -> bool:
    """Downloads entries that have a source and are not there yet; prints what to copy where.

    Args:
        models_file: path of models.yaml.
        names: of entries; none for all that have a source.

    Returns:
        Whether all of them are there now.

    Raises:
        RegistryError: models.yaml is wrong.
        PullFailed: a name is unknown or has no source.
    """
    parsed = read_models_file(models_file, must_exist=False)
    translation = [parsed.translation] if parsed.translation else []
    entries = _with_source([*parsed.models, *parsed.all_sub_models, *translation], names)
    there: list[Path] = []
    failed = False
    for entry in entries:
        assert entry.source is not None
        try:
            if entry.path.exists():
                typer.echo(f"{entry.name}: is there already ({entry.path})")
            else:
                files = pull(entry.source, entry.path)
                total = sum(file.stat().st_size for file in files)
                typer.echo(f"{entry.name}: {len(files)} files, {total / GIB:.2f} GiB")
            there.append(entry.path)
        except (PullFailed, OSError) as exc:
            failed = True
            typer.echo(f"{entry.name}: {exc}", err=True)
    if there:
        typer.echo("To an offline server copy, beside each other as they are here:")
        for path in (models_file.resolve(), *there):
            typer.echo(f"  {path}")
        typer.echo("and run `backdrop models check` there.")
    return not failed


def _with_source(entries: Sequence[Entry], names: Sequence[str]) -> list[Entry]:
    by_name = {entry.name: entry for entry in entries}
    for name in names:
        if name not in by_name:
            raise PullFailed(f"no entry is named {name!r}")
        if by_name[name].source is None:
            raise PullFailed(f"the entry {name!r} names no source")
    return [entry for entry in entries if entry.source and (not names or entry.name in names)]


def _print_problems(problems: Iterable[str]) -> None:
    # Not through rich, which would wrap the paths.
    for line in problems:
        typer.echo(line)
