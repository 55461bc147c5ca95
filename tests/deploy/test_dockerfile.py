from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.deploy.files import (
    DOCKERFILE,
    ROOT,
    assert_are_settings,
    assert_is_a_command,
    assert_is_a_probe,
    dockerfile_says,
    image_environment,
)

HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
    "hadolint"
)
TEXT = DOCKERFILE.read_text()


def context() -> list[str]:
    """What docker is sent: the top-level names that .dockerignore lets pass, and what they hold."""
    star, *rules = (ROOT / ".dockerignore").read_text().split()
    assert star == "*"
    kept = [ROOT / rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    left_out = [rule.removeprefix("**/") for rule in rules if not rule.startswith("!")]
    files = [file for top in kept for file in ([top] if top.is_file() else top.rglob("*"))]
    return [
        str(file.relative_to(ROOT))
        for file in files
        if file.is_file()
        and not any(fnmatch(part, rule) for part in file.parts for rule in left_out)
    ]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint comes for x86-64 Linux only")
def test_hadolint_finds_nothing(tmp_path: Path):
    assert HADOLINT is not None
    clean = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (clean.returncode, clean.stdout) == (0, "")
    careless = tmp_path / "Dockerfile"
    careless.write_text(TEXT.replace("USER 10001", "USER root"))
    found = subprocess.run([HADOLINT, careless], capture_output=True, text=True, check=False)
    assert "DL3002" in found.stdout


def test_build_tools_stay_in_the_first_stage():
    stages = re.findall(r"^FROM (\S+)", TEXT, flags=re.MULTILINE)
    assert stages == ["${BASE}", "${BASE}"]
    last = " ".join(dockerfile_says("RUN"))
    assert "venv" not in last
    assert "pip" not in last
    assert dockerfile_says("COPY") == ["--from=build /opt/backdrop /opt/backdrop"]


def test_what_is_copied_is_in_the_context_and_the_context_holds_nothing_else():
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", TEXT, flags=re.MULTILINE)
        for source in line.split()
    }
    assert copied == {Path(file).parts[0] for file in context()}


def test_what_a_setting_can_switch_on_is_in_the_image():
    """The page, PostgreSQL, S3 and translators: nobody can install an extra in a running container."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r'^ARG EXTRAS="(.*)"$', TEXT, flags=re.MULTILINE)
    asked = extras.split(",")
    assert set(asked) <= set(project["optional-dependencies"])
    assert {"postgres", "s3", "translation", "ui"} == set(asked)


def test_no_weights_but_the_embedded_models_are_in_the_context():
    large = {file for file in context() if (ROOT / file).stat().st_size > 2**20}
    assert large
    for file in large:
        assert file.startswith("engine/models/embedded/"), file
    assert sum((ROOT / file).stat().st_size for file in context()) < 64 * 2**20


def test_the_image_runs_as_a_user_without_a_name_to_look_up():
    [user] = dockerfile_says("USER")
    assert int(user) != 0
    assert f"--uid {user}" in " ".join(dockerfile_says("RUN"))


def test_its_environment_and_command_are_the_programs():
    ours = {name: value for name, value in image_environment().items() if name[:8] == "BACKDROP"}
    assert ours["BACKDROP_HOST"] == "0.0.0.0"
    assert_are_settings(ours)
    assert dockerfile_says("EXPOSE") == [ours["BACKDROP_PORT"]]
    assert json.loads(dockerfile_says("ENTRYPOINT")[0]) == ["backdrop"]
    assert_is_a_command(json.loads(dockerfile_says("CMD")[0]))
    assert ours["BACKDROP_DATA_DIR"] in json.loads(dockerfile_says("VOLUME")[0])


def test_its_health_check_tells_whether_a_server_answers(tmp_path: Path):
    command = json.loads(
        re.search(r"HEALTHCHECK.*?CMD (\[.*\])", TEXT.replace("\\\n", "")).group(1)
    )
    assert command[0] == "python3"
    assert_is_a_probe(re.search(r"(/\w+)'", command[-1]).group(1))

    def is_healthy(port: str) -> bool:
        environment = os.environ | {"BACKDROP_PORT": port}
        check = [sys.executable, *command[1:]]
        return not subprocess.run(
            check, env=environment, capture_output=True, check=False
        ).returncode

    environment = os.environ | {"BACKDROP_DATA_DIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "backdrop", "api", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip().rpartition(":")[2]
        assert is_healthy(port)
        server.kill()
        server.wait()
    assert not is_healthy(port)
