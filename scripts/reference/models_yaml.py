"""The reference of models.yaml, from the models that check it; meanings are in their docstrings."""

from __future__ import annotations

import re
from inspect import cleandoc
from typing import Any

from pydantic import BaseModel

from engine.few_steps import FewSteps
from engine.registry import MainModel, ModelsFile
from engine.sub_models import SubModel
from engine.translation_model import TranslationModel
from scripts.reference.tables import as_json, defaults_of, fields_table, type_of

INTRODUCTION = """# models.yaml reference

All keys of `models.yaml`; an unknown one stops the start. Paths are relative to the file;
`package:embedded` is the model that ships with Backdrop. How to use them: [Models](../models.md).
This page is generated from the models that check the file.
"""

SOURCE = """## HubLocation

Text: `hf:OWNER/REPO@COMMIT` for a diffusers folder, `hf:OWNER/REPO@COMMIT/FILE` for one file.
"""


def page() -> str:
    """The whole page."""
    sections: list[type[BaseModel]] = [ModelsFile, MainModel, SubModel, FewSteps, TranslationModel]
    definitions = ModelsFile.model_json_schema()["$defs"]
    samplers = [
        f"## {name}\n\n{definitions[name]['description']}\n\n{type_of(definitions[name])}\n"
        for name in ("Sampler", "DistilledSampler")
    ]
    return "\n".join([INTRODUCTION, *map(_section, sections), *samplers, SOURCE])


def _section(model: type[BaseModel]) -> str:
    meanings = attributes(model)
    summary = cleandoc(model.__doc__ or "").partition("\n")[0]
    schema = ModelsFile.model_json_schema()
    if model is not ModelsFile:
        schema = schema["$defs"][model.__name__]
    fields = fields_table(
        schema["properties"],
        describe=lambda name, _: meanings[name],
        default=defaults_of(schema, _as_yaml),
    )
    return f"## {model.__name__}\n\n{summary}\n\n{fields}"


def attributes(model: type[BaseModel]) -> dict[str, str]:
    """What a Google docstring says of each attribute."""
    _, _, text = cleandoc(model.__doc__ or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: _sentence(" ".join(meaning.split())) for name, meaning in entries}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _as_yaml(value: Any) -> str:
    return as_json(value).replace('"', "")
