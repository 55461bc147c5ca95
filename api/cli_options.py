"""What the commands of `backdrop` share: options, settings, and lines for the user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from api.settings import Settings, what_is_wrong

DataDir = Annotated[Path | None, typer.Option(help="Folder of the task store and the images.")]
Models = Annotated[Path | None, typer.Option(help="Path of models.yaml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class UsageFault(Exception):
    """Something the user can mend; told in one line."""


def settings_of(*, keys: Sequence[str] | None = None, **given: Any) -> Settings:
    """Settings from the options that were given, then environment, file and defaults."""
    options = {name: value for name, value in given.items() if value is not None}
    if keys:
        options["keys"] = [SecretStr(pair) for pair in keys]
    try:
        return Settings(**options)
    except ValidationError as exc:
        raise UsageFault(what_is_wrong(exc)) from exc
    except (SettingsError, OSError) as exc:
        raise UsageFault(str(exc)) from exc


@contextmanager
def naming_what_failed(settings: Settings) -> Iterator[None]:
    """Turns what the system refuses (ports, folders, files) into a line for the user."""
    try:
        yield
    except OSError as exc:
        address = f"{settings.host}:{settings.port}"
        place = exc.filename or f"address {address} or data folder {settings.data_dir}"
        raise UsageFault(f"{place}: {exc.strerror or exc}") from exc
