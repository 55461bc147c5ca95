"""What an installed wheel holds: the packages, the embedded model and a models.yaml that names it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PARTS = (
    "LICENSE MANIFEST.in NOTICE README.md api backdrop engine models.yaml pyproject.toml setup.py"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A folder with the unpacked wheel, far from the sources."""
    source = tmp_path_factory.mktemp("source")
    for part in PARTS.split():
        if (root / part).is_dir():
            shutil.copytree(
                root / part, source / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(root / part, source / part)
    wheels = tmp_path_factory.mktemp("wheels")
    command = "pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir"
    subprocess.run([sys.executable, "-m", *command.split(), wheels, source], check=True)
    [wheel] = wheels.glob("backdrop-*.whl")
    unpacked = tmp_path_factory.mktemp("site-packages")
    zipfile.ZipFile(wheel).extractall(unpacked)
    return unpacked


def test_an_installed_wheel_finds_its_models_file_and_the_embedded_model(installed: Path) -> None:
    program = (
        "from api.settings import Settings; from engine.registry import load_registry;"
        "file = Settings().models; model = load_registry(file).main_model('PICPIK General');"
        "print(file); print(model.path)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=installed, capture_output=True, text=True, check=True
    )
    models_file, embedded = map(Path, run.stdout.splitlines())
    assert models_file == installed / "engine" / "models" / "models.yaml"
    assert embedded == installed / "engine" / "models" / "embedded"


def test_a_wheel_carries_every_file_of_the_embedded_model(installed: Path, root: Path) -> None:
    folder = Path("engine", "models", "embedded")
    shipped = {path.relative_to(installed) for path in (installed / folder).rglob("*")}
    assert shipped == {path.relative_to(root) for path in (root / folder).rglob("*")}
    assert folder / "unet" / "diffusion_pytorch_model.safetensors" in shipped


def test_a_wheel_carries_the_configs_of_every_family(installed: Path, root: Path) -> None:
    folder = Path("engine", "configs")
    shipped = {path.relative_to(installed) for path in (installed / folder).rglob("*")}
    assert shipped == {path.relative_to(root) for path in (root / folder).rglob("*")}
    assert folder / "clip_merges.txt.gz" in shipped


def test_a_wheel_carries_the_template_of_a_sweeps_report(installed: Path) -> None:
    assert (installed / "api" / "sweeps" / "report.html").is_file()


def test_a_wheel_carries_the_glossary(installed: Path) -> None:
    program = (
        "from engine.translate import translate_prompts, translator_for;"
        "print(*translate_prompts(['\u84dd\u5929'], translator_for(None)).prompts)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=installed, capture_output=True, text=True, check=True
    )
    assert run.stdout == "blue sky\n"


def test_an_installed_wheel_makes_and_upgrades_its_task_store(installed: Path) -> None:
    program = (
        "from api.database import open_database; from api.migrations import HEAD, upgrade;"
        "open_database('sqlite:///tables/store.sqlite3'); print(HEAD, upgrade.__code__.co_filename)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=installed, capture_output=True, text=True, check=True
    )
    shutil.rmtree(installed / "tables")
    _, file = run.stdout.split()
    assert Path(file).is_relative_to(installed)


def test_a_wheel_carries_nothing_but_the_packages(installed: Path) -> None:
    names = {path.name for path in installed.iterdir()}
    assert names == {"api", "backdrop", "engine"} | {n for n in names if n.endswith(".dist-info")}


def test_a_wheel_carries_the_style_of_the_page(installed: Path) -> None:
    assert (installed / "api" / "ui" / "style.css").is_file()
