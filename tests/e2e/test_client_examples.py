"""The programs of examples/clients, each against the real server where its toolchain is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import KEYS, Server

Started = subprocess.Popen[str]

CLIENTS = Path(__file__).parents[2] / "examples" / "clients"
COMMANDS = {
    "generate.sh": (["bash"], ["bash", "curl", "openssl"]),
    "generate.py": ([sys.executable], []),
    "generate.mjs": (["node"], ["node"]),
    "generate.go": (["go", "run"], ["go"]),
    "generate.php": (["php"], ["php"]),
}
PROMPT = 'blue sky, "quoted" \\ 蓝天'
EVERY_CLIENT = pytest.mark.parametrize("program", COMMANDS)


def start(program: str, server: Server, *arguments: object, private_key: str) -> Started:
    environment = {
        "BACKDROP_URL": server.base_url,
        "BACKDROP_PUBLIC_KEY": "alice",
        "BACKDROP_PRIVATE_KEY": private_key,
        "PYTHONPATH": str(CLIENTS.parents[1]),
        "no_proxy": "*",
    }
    return subprocess.Popen(
        [*COMMANDS[program][0], str(CLIENTS / program), *map(str, arguments)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def missing(program: str) -> list[str]:
    return [name for name in COMMANDS[program][1] if shutil.which(name) is None]


def ended(started: dict[str, Started], program: str) -> tuple[int, str, str]:
    """Exit status, standard output and error."""
    if program not in started:
        pytest.skip(f"no {' and no '.join(missing(program))} on this machine")
    out, err = started[program].communicate(timeout=240)
    return started[program].returncode, out, err


@pytest.fixture(scope="module")
def cup(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clients") / "cup.png"
    with Image.open(examples / "coffee-cup.png") as picture:
        picture.resize((96, 64), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module", params=[KEYS["alice"]])
def started(
    request: pytest.FixtureRequest, server: Server, cup: Path, folder: Path
) -> Iterator[dict[str, Started]]:
    """All at once: their tasks share batches."""
    started = {
        program: start(program, server, cup, folder / program, PROMPT, private_key=request.param)
        for program in COMMANDS
        if not missing(program)
    }
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@EVERY_CLIENT
def test_a_client_saves_a_picture_that_keeps_the_item(
    program: str, started: dict[str, Started], cup: Path, folder: Path
):
    status, out, err = ended(started, program)
    assert status == 0, err
    output = folder / program
    assert out.strip() == str(output)
    item = np.asarray(Image.open(cup))
    picture = np.asarray(Image.open(output).convert("RGB"))
    assert picture.shape == (64, 96, 3)
    opaque = item[..., 3] == 255
    assert opaque.any()
    np.testing.assert_array_equal(picture[opaque], item[opaque][:, :3])


@pytest.mark.parametrize("started", ["wrong"], indirect=True)
@EVERY_CLIENT
def test_a_client_says_why_it_was_refused(program: str, started: dict[str, Started], folder: Path):
    (folder / program).unlink(missing_ok=True)
    status, _, err = ended(started, program)
    assert status != 0
    assert "VerifyAC" in err
    assert not (folder / program).exists()


def test_every_client_is_tested():
    programs = {path.name for path in CLIENTS.iterdir() if path.suffix != ".md"}
    assert programs == COMMANDS.keys()
