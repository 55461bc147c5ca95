"""The reference of the command line, by Typer itself."""

from __future__ import annotations

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

from api.cli import app

INTRODUCTION = """# Command reference

What `--help` of each command says. Exit status: 0 done, 1 something failed, 2 a mistake that the
user can mend, told in one line.

"""


def page() -> str:
    """The whole page."""
    command = get_command(app)
    context = typer.Context(command, info_name="backdrop")
    text = get_docs_for_click(obj=command, ctx=context, name="backdrop", title="backdrop")
    return INTRODUCTION + text.removeprefix("# backdrop\n\n")
