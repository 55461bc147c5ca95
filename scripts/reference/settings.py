"""The reference of the settings."""

from __future__ import annotations

from typing import Any

from api.s3_settings import S3Settings
from api.settings import PACKAGE_MODELS_FILE, Settings
from scripts.reference.tables import Schema, as_json, defaults_of, fields_table

INTRODUCTION = """# Settings reference

A setting is an option of the command where it has one, else an environment variable
`BACKDROP_<NAME>` (`BACKDROP_PORT=9000`), else a file of that name in the folder that
`BACKDROP_SECRETS_DIR` names, else a key of the YAML file that `BACKDROP_SETTINGS_FILE` names
(`port: 9000`), else its default. A wrong one stops the start with a line that names it. This page
is generated from the model that reads them.
"""
MIB = 2**20


def page() -> str:
    """The whole page."""
    schema = Settings.model_json_schema()
    of_store = S3Settings.model_fields
    return "\n".join(
        [
            INTRODUCTION,
            "## Service\n",
            _fields(schema, [name for name in Settings.model_fields if name not in of_store]),
            "## Object store\n",
            _fields(schema, list(of_store)),
        ]
    )


def _fields(schema: Schema, names: list[str]) -> str:
    return fields_table(
        {name: schema["properties"][name] for name in names},
        describe=lambda _, member: member["description"],
        default=defaults_of(schema, _default),
    )


def _default(value: Any) -> str:
    """A default as one writes it; the path of the installation's own file says nothing."""
    if value == str(PACKAGE_MODELS_FILE):
        return "that of the installation"
    if type(value) is int and value >= MIB and value % MIB == 0:
        return f"`{value}` ({value // MIB} MiB)"
    return as_json(value).replace('"', "")
