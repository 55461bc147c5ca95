"""Paths in models.yaml: relative to that file, or `package:NAME` for what ships with this package.

The validation context holds `folder`, where models.yaml lies, and may hold `must_exist: False`:
`backdrop models pull` reads entries whose files are still to come.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

PACKAGE_PREFIX = "package:"
PACKAGED_MODELS = Path(__file__).resolve().parent / "models"


def _resolved(value: object, info: ValidationInfo) -> Path:
    """An absolute path."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a path")
    if value.startswith(PACKAGE_PREFIX):
        name = value.removeprefix(PACKAGE_PREFIX)
        path = PACKAGED_MODELS / name
        if ".." in path.parts or not path.is_relative_to(PACKAGED_MODELS) or not _exists(path):
            raise ValueError(f"this installation ships no model named {name!r}")
        return path
    base = info.context["folder"] if info.context else Path()
    try:
        return (base / value).resolve()
    except (OSError, RuntimeError, ValueError) as exc:  # a loop of links; a null character
        raise ValueError(f"{value!r} is no path ({exc})") from exc


def _is_there(path: Path, info: ValidationInfo) -> Path:
    if _must_exist(info) and not _exists(path):
        raise ValueError(f"{path} is neither a folder nor a file")
    return path


def _is_folder(path: Path, info: ValidationInfo) -> Path:
    if _must_exist(info) and not path.is_dir():
        raise ValueError(f"{path} is not a folder")
    return path


def _is_file(path: Path, info: ValidationInfo) -> Path:
    if _must_exist(info) and not path.is_file():
        raise ValueError(f"{path} is not a file")
    return path


def _exists(path: Path) -> bool:
    try:
        return path.is_dir() or path.is_file()
    except OSError:  # a name too long, a folder that may not be looked into
        return False


def _must_exist(info: ValidationInfo) -> bool:
    return info.context is None or info.context.get("must_exist", True)


# AfterValidators run in order: a folder or file is looked for only where something is there at all.
ModelPath = Annotated[Path, BeforeValidator(_resolved), AfterValidator(_is_there)]
ModelFolder = Annotated[ModelPath, AfterValidator(_is_folder)]
ModelFile = Annotated[ModelPath, AfterValidator(_is_file)]
