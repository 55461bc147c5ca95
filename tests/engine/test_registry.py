"""models.yaml: what is read, and how a mistake is reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.errors import RegistryError, UnknownModel
from engine.job import Sampler
from engine.registry import PACKAGED_MODELS, load_registry

GOOD = """
default_model: A
models:
  - name: A
    path: package:embedded
    family: sd1
    native_size_px: 256
    sampler: euler_ancestral
    guidance_scale: 3
"""


def test_an_entry_carries_its_defaults(tmp_path: Path) -> None:
    model = load_registry(_write(tmp_path, GOOD)).main_model("A")
    assert model.path == PACKAGED_MODELS / "embedded"
    assert model.sampler is Sampler.EULER_ANCESTRAL
    assert (model.num_inference_steps, model.guidance_scale) == (10, 3.0)
    assert model.shared_vae is None


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(PACKAGED_MODELS / "embedded")
    file = _write(tmp_path, GOOD.replace("package:embedded", "mine"))
    assert load_registry(file).main_model("A").path.samefile(PACKAGED_MODELS / "embedded")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("family: sd1", "family: sd9", ["'A'", "family"]),
        ("native_size_px: 256", "native_size_px: big", ["'A'", "native_size_px"]),
        ("guidance_scale: 3", "guidance_scale: 99", ["'A'", "guidance_scale"]),
        ("sampler: euler_ancestral", "sampler: best", ["'A'", "sampler"]),
        ("guidance_scale: 3", "guidence_scale: 3", ["'A'", "guidence_scale"]),
        ("package:embedded", "package:other", ["'A'", "path", "other"]),
        ("package:embedded", "package:../models/embedded", ["'A'", "path"]),
        ("package:embedded", "package:/etc", ["'A'", "path"]),
        ("package:embedded", "package:embedded/unet/..", ["'A'", "path"]),
        ("package:embedded", "nowhere", ["'A'", "path", "nowhere"]),
        ("package:embedded", ".", ["'A'", "model_index.json"]),
        ("name: A", "nam: A", ["entry 1", "name"]),
        ("default_model: A", "default_model: B", ["default_model", "'B'"]),
        ("default_model: A", "fallback: A", ["fallback"]),
        ("models:", "models: 3\nold:", ["models"]),
        ("models:", "models: [", ["YAML"]),
        ("models:", f"models: {'[' * 5000}", ["YAML"]),
    ],
)
def test_a_mistake_names_file_entry_and_key(
    tmp_path: Path, old: str, new: str, told: list[str]
) -> None:
    file = _write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(RegistryError) as caught:
        load_registry(file)
    for word in [str(file), *told]:
        assert word in str(caught.value)


def test_one_mistake_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        load_registry(_write(tmp_path, GOOD.replace("family: sd1", "family: sd9")))
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_without_its_configs_stops_the_start(tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(
        PACKAGED_MODELS / "embedded", copy, ignore=shutil.ignore_patterns("*.safetensors")
    )
    (copy / "unet" / "config.json").unlink()
    with pytest.raises(RegistryError, match=r"'A'.*unet/config\.json"):
        load_registry(_write(tmp_path, GOOD.replace("package:embedded", "mine")))


def test_a_name_used_twice_is_refused(tmp_path: Path) -> None:
    entry = GOOD.partition("models:\n")[2]
    with pytest.raises(RegistryError, match="used twice"):
        load_registry(_write(tmp_path, GOOD + entry))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"absent\.yaml"):
        load_registry(tmp_path / "absent.yaml")


def test_unknown_model_is_the_callers_error(tmp_path: Path) -> None:
    registry = load_registry(_write(tmp_path, GOOD))
    with pytest.raises(UnknownModel) as caught:
        registry.main_model("B")
    assert caught.value.field == "model_name"


def _write(folder: Path, text: str) -> Path:
    file = folder / "models.yaml"
    file.write_text(text, encoding="utf-8")
    return file
