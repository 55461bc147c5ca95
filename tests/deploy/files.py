"""What the files of deploy/ say, loaded, and what must hold of all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from api.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = ROOT / "Dockerfile.gpu"

# Read beside the settings; see `Settings.settings_customise_sources`.
_WHERE_SETTINGS_LIE = {"BACKDROP_SETTINGS_FILE", "BACKDROP_SECRETS_DIR"}


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def not_settings(environment: Mapping[str, object]) -> set[str]:
    """Names of an environment that look like settings and are none."""
    known = {f"BACKDROP_{name.upper()}" for name in Settings.model_fields} | _WHERE_SETTINGS_LIE
    return {name for name in environment if name.startswith("BACKDROP_")} - known


def refused(environment: Mapping[str, str]) -> list[str]:
    """The settings among these, each alone, whose value `Settings` does not take."""
    given = {
        name.removeprefix("BACKDROP_").lower(): value
        for name, value in environment.items()
        if name not in _WHERE_SETTINGS_LIE
    }
    return [name for name, value in given.items() if not _takes(name, value)]


def _takes(name: str, value: str) -> bool:
    field = Settings.model_fields[name]
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(field.rebuild_annotation()).validate_python(value)
    except ValidationError:
        return False
    return True


def dockerfile_says(instruction: str) -> list[str]:
    """Arguments of an instruction in the last stage of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    stage = re.split(r"^FROM .*\n", text.replace("\\\n", ""), flags=re.MULTILINE)[-1]
    return re.findall(rf"^{instruction}\s+(.*)$", stage, flags=re.MULTILINE)


def dockerfile_environment() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(dockerfile_says("ENV"))))
