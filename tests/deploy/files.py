"""What the files of deploy/ and the Dockerfile say, and what they may say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer.main
import yaml
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from api.cli import app as command_line
from api.routes import router
from api.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = ROOT / "Dockerfile.gpu"

# Read beside the settings; see `Settings.settings_customise_sources`.
_WHERE_SETTINGS_LIE = {"SETTINGS_FILE", "SECRETS_DIR"}


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def assert_are_settings(environment: Mapping[str, Any]) -> None:
    """Every BACKDROP_ variable is a setting, and its value one that the setting takes.

    Raises:
        AssertionError: a variable names none.
        ValidationError: a value is of another kind.
    """
    for variable, value in environment.items():
        name = variable.removeprefix("BACKDROP_")
        field = Settings.model_fields.get(name.lower())
        if name == variable or name in _WHERE_SETTINGS_LIE:
            continue
        assert field is not None, f"{variable} is no setting"
        if value is not None:
            TypeAdapter(field.rebuild_annotation()).validate_python(value)


def assert_is_a_command(arguments: Sequence[str]) -> None:
    """`backdrop ARGUMENTS` exists and takes these options."""
    name, *options = arguments
    group = typer.main.get_group(command_line)
    group.commands[name].make_context(name, options)


def assert_is_a_probe(path: str) -> None:
    probes = {route.path for route in router.routes if isinstance(route, APIRoute)}
    assert path in probes & {"/healthz", "/readyz"}


def dockerfile_says(instruction: str) -> list[str]:
    """Arguments of an instruction in the last stage of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    stage = re.split(r"^FROM .*\n", text.replace("\\\n", ""), flags=re.MULTILINE)[-1]
    return re.findall(rf"^{instruction}\s+(.*)$", stage, flags=re.MULTILINE)


def image_environment() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(dockerfile_says("ENV"))))
