"""The documentation's longer examples, as they stand there, with the embedded model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from engine.model_paths import PACKAGED_MODELS
from tests.docs.pages import ROOT, Block, block_titled, blocks
from tests.e2e.client import PicpikClient
from tests.e2e.conftest import KEYS, Server
from tests.engine.lora_files import write_unet_lora


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with what the examples name, to be written into."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "models.yaml", tmp_path)
    command = tmp_path / "bin" / "backdrop"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m backdrop "$@"\n')
    command.chmod(0o755)
    return tmp_path


def follow(program: list[str], text: str, tree: Path, **variables: str) -> str:
    """Standard output of an example that is run in `tree`."""
    ended = subprocess.run(
        program,
        input=text,
        cwd=tree,
        env=os.environ
        | {"PATH": f"{tree / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "no_proxy": "*"}
        | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def python_block(page: str) -> Block:
    return next(each for each in blocks() if each.page == page and each.language == "python")


def with_pair(text: str, server: Server) -> str:
    """A Python example with a server's address and a key pair in place of those to fill in."""
    text = text.replace("http://127.0.0.1:8600", server.base_url)
    return f"PUBLIC, PRIVATE = 'alice', {KEYS['alice']!r}\n{text}"


def test_the_readmes_shell_request_is_accepted(server: Server, alice: PicpikClient, tree: Path):
    text = block_titled("request").text.replace("http://127.0.0.1:8600", server.base_url)
    answer = follow(["bash", "-eu"], text, tree, PUBLIC="alice", PRIVATE=KEYS["alice"])
    [uid] = re.findall(r'"TaskUID": ?"(\w+)"', answer)
    [detail] = alice.call("CancelTask", TaskUID=uid)["TaskDetailList"]
    assert detail["ErrorCode"] in (0, 1206)


def test_the_readmes_python_request_is_accepted(server: Server, alice: PicpikClient, tree: Path):
    answer = follow([sys.executable], with_pair(python_block("README.md").text, server), tree)
    [uid] = set(re.findall(r"'TaskUID': '(\w+)'", answer))
    [detail] = alice.call("CancelTask", TaskUID=uid)["TaskDetailList"]
    assert detail["ErrorCode"] in (0, 1206)


@pytest.mark.slow
def test_the_quick_starts_first_picture(tree: Path):
    assert follow(["bash", "-eu"], block_titled("first picture").text, tree) == "pictures/7.png\n"
    with Image.open(tree / "pictures" / "7.png") as picture:
        assert picture.size == (256, 256)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="generate.sh needs curl")
def test_the_quick_starts_first_request(server: Server, tree: Path):
    text = block_titled("first request").text.replace("http://127.0.0.1:8600", server.base_url)
    text = text.replace("PUBLIC_KEY=...", "PUBLIC_KEY=alice")
    text = text.replace("PRIVATE_KEY=...", f"PRIVATE_KEY={KEYS['alice']}")
    follow(["bash", "-eu"], text, tree)
    with Image.open(tree / "cup.png") as picture:
        assert picture.size == (600, 400)


@pytest.mark.slow
def test_the_quick_starts_own_lora(tree: Path):
    checkpoint = PACKAGED_MODELS / "embedded"
    lora = write_unet_lora(tree / "lora.safetensors", checkpoint, rank=2, seed=0)
    text = block_titled("own lora").text
    text = text.replace("/path/to/checkpoint", str(checkpoint))
    text = text.replace("/path/to/lora.safetensors", str(lora))
    assert "mine/pictures/7.png" in follow(["bash", "-eu"], text, tree)
    with Image.open(tree / "mine" / "pictures" / "7.png") as picture:
        assert "my style" in picture.info["parameters"]


@pytest.mark.slow
def test_the_clients_page_saves_its_pictures(server: Server, tree: Path):
    text = with_pair(python_block("docs/client.md").text, server)
    text = text.replace("cup.png", "examples/coffee-cup.png")
    text = text.replace("lake.jpg", "examples/lake-pagoda.jpg")
    text = re.sub(r" *sub_models=.*\n", "", text)
    follow([sys.executable], text, tree)
    assert len([*(tree / "pictures").glob("*.png")]) == 2


@pytest.mark.slow
def test_the_research_guides_program(tree: Path):
    out = follow([sys.executable], python_block("docs/research.md").text, tree)
    assert out.count("ImageDone(") == 2
