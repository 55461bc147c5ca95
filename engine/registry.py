"""models.yaml -> validated entries.

Paths are relative to the file; `package:NAME` names a model shipped inside this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from engine.checkpoint_info import read_checkpoint_info
from engine.errors import RegistryError, UnknownModel, WeightsUnavailable
from engine.job import Sampler

PACKAGE_PREFIX = "package:"
PACKAGED_MODELS = Path(__file__).resolve().parent / "models"


def _existing_folder(value: object, info: ValidationInfo) -> object:
    """Resolves a path of models.yaml and insists that it is a folder."""
    if not isinstance(value, str):
        raise ValueError("must be a path")
    base = info.context["folder"] if info.context else Path()
    if value.startswith(PACKAGE_PREFIX):
        name = value.removeprefix(PACKAGE_PREFIX)
        path = PACKAGED_MODELS / name
        if path.parent != PACKAGED_MODELS or not path.is_dir():
            raise ValueError(f"this installation ships no model named {name!r}")
        return path
    path = (base / value).resolve()
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder")
    return path


ModelFolder = Annotated[Path, BeforeValidator(_existing_folder)]


class MainModel(BaseModel):
    """One main checkpoint: where it lies, what it is, and its defaults.

    Attributes:
        name: the ModelCode clients use.
        path: diffusers folder (model_index.json and one subfolder a component).
        family: sd1 or sd2: a UNet with one CLIP text encoder.
        native_size_px: side of the square canvas the checkpoint was trained on.
        num_inference_steps: default denoising steps, 6..100.
        sampler: default sampler.
        guidance_scale: default classifier-free guidance, 1..30; 1 switches it off.
        refine_strength: 0..1, noise strength of the second pass on canvases above twice the
            native area; the first pass composes at native area.
        shared_vae: VAE folder used unless a job asks for the checkpoint's own; None: its own.
        trigger_words: words the model was trained to react to, shown to clients.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=200)
    path: ModelFolder
    family: Literal["sd1", "sd2"]
    native_size_px: int = Field(ge=64, le=2048)
    num_inference_steps: int = Field(10, ge=6, le=100)
    sampler: Sampler = Sampler.EULER
    guidance_scale: float = Field(7.5, ge=1, le=30)
    refine_strength: float = Field(0.45, gt=0, lt=1)
    shared_vae: ModelFolder | None = None
    trigger_words: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_a_diffusers_folder(self) -> MainModel:
        if not (self.path / "model_index.json").is_file():
            raise ValueError(f"path: {self.path} holds no model_index.json")
        return self


class _ModelsFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    default_model: str
    models: tuple[MainModel, ...] = Field(min_length=1)


class Registry:
    """All registered models.

    Attributes:
        models: main models by name, in file order.
        default_model: the one used when a request names none.
    """

    def __init__(self, models: Mapping[str, MainModel], default_model: str) -> None:
        self.models = dict(models)
        self.default_model = default_model

    def main_model(self, name: str) -> MainModel:
        """The entry of that name.

        Raises:
            UnknownModel: there is none.
        """
        try:
            return self.models[name]
        except KeyError:
            raise UnknownModel(f"no main model is named {name!r}", field="model_name") from None


def load_registry(path: Path) -> Registry:
    """Reads and validates a models.yaml.

    Raises:
        RegistryError: the file is missing, no YAML, or an entry is wrong; the message names file,
            entry and key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise RegistryError(f"{path}: cannot be read ({exc.strerror})") from exc
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as exc:
        reason = " ".join(str(exc).split())
        raise RegistryError(f"{path}: not valid YAML ({reason})") from exc
    if not isinstance(content, dict):
        raise RegistryError(f"{path}: expected the keys 'default_model' and 'models'")
    try:
        parsed = _ModelsFile.model_validate(content, context={"folder": path.resolve().parent})
    except ValidationError as exc:
        raise RegistryError("\n".join(_readable_lines(path, content, exc))) from exc
    by_name: dict[str, MainModel] = {}
    for model in parsed.models:
        if model.name in by_name:
            raise RegistryError(f"{path}: models: the name {model.name!r} is used twice")
        try:
            read_checkpoint_info(model.path)
        except WeightsUnavailable as exc:
            raise RegistryError(f"{path}: models: entry {model.name!r}: path: {exc}") from exc
        by_name[model.name] = model
    if parsed.default_model not in by_name:
        raise RegistryError(f"{path}: default_model: no entry is named {parsed.default_model!r}")
    return Registry(by_name, parsed.default_model)


def _readable_lines(path: Path, content: dict[str, object], exc: ValidationError) -> list[str]:
    """A line for each mistake; of a list and its entries only the entries are told."""
    errors = exc.errors()
    deepest = [
        error
        for error in errors
        if not any(
            other["loc"][: len(error["loc"])] == error["loc"] and other["loc"] != error["loc"]
            for other in errors
        )
    ]
    return [_readable(path, content, error["loc"], error["msg"]) for error in deepest]


def _readable(
    path: Path, content: dict[str, object], location: tuple[int | str, ...], message: str
) -> str:
    """One line: file, entry by its name where it has one, key, what is wrong."""
    where = ".".join(str(part) for part in location)
    entries = content.get("models")
    if len(location) >= 2 and location[0] == "models" and isinstance(entries, list):
        entry = entries[int(location[1])]
        name = entry.get("name") if isinstance(entry, dict) else None
        label = f"entry {name!r}" if name else f"entry {int(location[1]) + 1}"
        key = ".".join(str(part) for part in location[2:])
        where = f"models: {label}" + (f": {key}" if key else "")
    return f"{path}: {where}: {message.removeprefix('Value error, ')}"
