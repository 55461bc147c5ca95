"""Every command of the documentation is run by a test, or is named here with the reason why not."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from api.cli import app
from tests.api.command import run
from tests.docs.pages import ROOT, Block, blocks, commands, shell_blocks

# Blocks with a title are run as a whole.
RUN_WHOLE = {
    "backup": "tests/api/test_backup.py",
    "restore": "tests/api/test_backup.py",
    "request": "tests/e2e/test_documentation.py",
    "first picture": "tests/e2e/test_documentation.py",
    "first request": "tests/e2e/test_documentation.py",
    "own lora": "tests/e2e/test_documentation.py",
}

# Commands that are run here, one after the other, in a data folder of their own.
RUN_HERE = (
    "backdrop keys",
    "backdrop models list",
    "backdrop doctor --quick",
    "backdrop top --once",
)

# Commands that are only parsed: the first words, and why.
ONLY_PARSED = {
    "backdrop api": "runs until a signal; tests/e2e runs it",
    "backdrop cluster": "needs a Ray cluster; tests/e2e/test_ray_cluster.py runs it on one",
    "backdrop doctor": "loads torch, or asks a server; tests/api/doctor and tests/e2e run it",
    "backdrop generate": "takes minutes in all; test_documentation.py and test_cli.py run it",
    "backdrop models check": "tests/api/test_models_command.py runs it, as does the quick start's test",
    "backdrop models pull": "needs a network; tests/api/test_models_command.py has a hub of its own",
    "backdrop serve": "runs until a signal; tests/e2e runs it",
    "backdrop sweep": "takes minutes; the tests of sweeps run it",
    "backdrop worker": "runs until a signal; tests/api/test_supervisor_process.py runs it",
    "docker": "needs a daemon; tests/deploy checks the files",
    "go run": "tests/e2e/test_client_examples.py runs it",
    "kubectl": "needs a cluster; tests/deploy checks the files",
    "node": "tests/e2e/test_client_examples.py runs it",
    "php": "tests/e2e/test_client_examples.py runs it",
    "pip install": "needs a package index",
    "python -m scripts.": "takes minutes to hours; tests of the scripts run their parts",
    "python generate.py": "tests/e2e/test_client_examples.py runs it",
    "python3 -m venv": "needs a package index",
    "/opt/backdrop/bin/pip": "needs a package index",
    "./generate.sh": "tests/e2e/test_client_examples.py runs it",
    "./make-env": "writes into the tree; tests/deploy/test_compose.py runs a copy",
    "./scripts/": "makes an environment, which needs a package index",
    "scripts/": "makes an environment, which needs a package index",
    "systemctl": "needs systemd; tests/deploy checks the unit",
    "journalctl": "needs systemd",
    "install": "needs root",
    "useradd": "needs root",
    "export": "an assignment",
    "source": "goes on in the reader's shell",
    "cd": "goes on in the reader's shell",
    "for": "its body is looked at",
    "done": "its body is looked at",
    "cp": "a file to edit by hand",
    "$EDITOR": "a file to edit by hand",
}
UNTITLED = [block for block in shell_blocks() if not block.title]


def where(block: Block) -> str:
    return f"{block.page}:{block.text.splitlines()[0][:40]}"


def begins(words: Sequence[str], starts: Sequence[str]) -> list[str]:
    return [start for start in starts if " ".join(words).startswith(start)]


def is_run_here(words: Sequence[str]) -> bool:
    return bool(begins(words, RUN_HERE))


def test_every_block_names_its_language() -> None:
    assert [where(block) for block in blocks() if not block.language] == []


def test_no_command_hides_in_an_indented_block() -> None:
    for block in shell_blocks():
        assert not block.text.startswith(" "), where(block)
    starts = tuple(f"    {start}" for start in (*RUN_HERE, *ONLY_PARSED) if start not in ("for",))
    for path in {block.page for block in blocks()}:
        text = (ROOT / path).read_text()
        fenced = "".join(block.text for block in blocks() if block.page == path)
        hidden = [line for line in text.splitlines() if line.startswith(starts)]
        assert [line for line in hidden if line not in fenced] == []


@pytest.mark.parametrize("block", shell_blocks(), ids=where)
def test_the_shell_understands_every_block(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


@pytest.mark.parametrize("block", UNTITLED, ids=where)
def test_every_command_is_run_or_named_with_a_reason(block: Block) -> None:
    unknown = [
        words
        for words in commands(block)
        if not is_run_here(words) and not begins(words, [*ONLY_PARSED])
    ]
    assert unknown == []


def test_every_titled_block_is_run_whole() -> None:
    for block in shell_blocks():
        if block.title:
            assert f'"{block.title}"' in (ROOT / RUN_WHOLE[block.title]).read_text()


@pytest.mark.parametrize("block", shell_blocks(), ids=where)
def test_every_script_that_is_named_exists(block: Block) -> None:
    for words in commands(block):
        if "scripts/" in words[0]:
            assert (ROOT / words[0]).is_file()
        if words[:2] == ["python", "-m"] and words[2].startswith("scripts."):
            module = ROOT / words[2].replace(".", "/")
            assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()


def parse(words: Sequence[str]) -> None:
    """Has the command line take `words` without doing anything."""
    command, arguments, parent = get_command(app), list(words[1:]), None
    while True:
        parent = command.make_context(words[0], arguments, parent=parent)
        if not isinstance(command, typer.core.TyperGroup):
            return
        _, found, arguments = command.resolve_command(
            parent, [*parent._protected_args, *parent.args]
        )
        assert found is not None
        command = found


@pytest.mark.parametrize("block", shell_blocks(), ids=where)
def test_the_command_line_takes_what_is_written(block: Block) -> None:
    for words in commands(block):
        if words[0] == "backdrop":
            parse(words)


def test_the_parser_refuses_what_is_wrong() -> None:
    with pytest.raises(Exception, match="--stepps"):
        parse(["backdrop", "generate", "--foreground", "cup.png", "--stepps", "7"])


@pytest.mark.parametrize("page", sorted({block.page for block in UNTITLED}))
def test_what_can_be_run_at_once_succeeds(
    page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("BACKDROP_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("BACKDROP_PORT", "0")
    lines = [
        words
        for block in UNTITLED
        if block.page == page
        for words in commands(block)
        if is_run_here(words)
    ]
    public = ""
    if any("PUBLIC_KEY" in words for words in lines):
        public = run(capsys, "keys", "add", "--credits", "10")[1].split()[1]
    for words in lines:
        arguments = [public if word == "PUBLIC_KEY" else word for word in words[1:]]
        status, out, err = run(capsys, *arguments)
        assert status == 0, (words, out, err)
