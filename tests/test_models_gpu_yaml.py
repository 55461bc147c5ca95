"""models.gpu.yaml and docs/models.md show what the server takes, once the files are there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from engine.engine import Engine
from engine.job import AdapterWeight, GenerationJob
from engine.plan import plan_job
from engine.registry import MainModel, ModelsFile, Registry, load_registry, read_models_file
from engine.sub_models import SubModel
from engine.translation_model import TranslationModel
from tests.engine.lora_files import write_lora
from tests.engine.single_files import networks, save, tensors_of
from tests.engine.tiny import EPSILON, write_tiny_model, write_tiny_sdxl

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "models.gpu.yaml"
# Prompt embeddings of the tiny models in tests/engine/tiny.py.
WIDTHS = {"sd1": 32, "sdxl": 56}


@pytest.fixture(scope="module")
def parsed() -> ModelsFile:
    return read_models_file(FILE, must_exist=False)


@pytest.fixture(scope="module")
def registry(parsed: ModelsFile, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """The file as it stands in another folder, tiny files at its paths."""
    folder = tmp_path_factory.mktemp("gpu")
    copy = folder / FILE.name
    copy.write_text(FILE.read_text())
    for model in parsed.models:
        path = folder / model.path.relative_to(ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        assert model.in_channels is not None
        if path.suffix:
            save(tensors_of(networks("sd1", model.in_channels)), path)
        elif model.family == "sdxl":
            write_tiny_sdxl(path, in_channels=model.in_channels, scheduler=EPSILON)
        else:
            write_tiny_model(path, in_channels=model.in_channels, scheduler=EPSILON)
    for sub_model in parsed.sub_models:
        path = folder / sub_model.path.relative_to(ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        assert sub_model.family is not None
        if sub_model.kind == "lora":
            write_lora(path, width=WIDTHS[sub_model.family])
        else:
            save_file({"emb_params": torch.randn(1, WIDTHS[sub_model.family])}, path)
    assert parsed.translation is not None
    (folder / parsed.translation.path.relative_to(ROOT)).mkdir()
    return load_registry(copy)


def test_every_entry_can_be_served(registry: Registry, parsed: ModelsFile) -> None:
    assert registry.unusable == {}
    assert list(registry.models) == [model.name for model in parsed.models]
    for model in parsed.models:
        info = registry.main_model(model.name).checkpoint_info
        assert (info.family, info.unet_in_channels) == (model.family, model.in_channels)


def test_it_holds_what_a_gpu_team_starts_from(parsed: ModelsFile) -> None:
    kinds = [(model.family, model.in_channels) for model in parsed.models]
    assert kinds == [("sd1", 9), ("sdxl", 9), ("sd1", 4)]
    assert [each.kind for each in parsed.sub_models] == ["lora", "lora", "embedding"]
    assert parsed.translation is not None


def test_its_sources_are_pinned(parsed: ModelsFile) -> None:
    assert parsed.translation is not None
    sources = [each.source for each in (*parsed.models, parsed.translation)]
    assert all(source is not None and source.is_pinned for source in sources)


def test_every_key_is_shown_and_explained() -> None:
    """A key that is added to an entry is added there as well."""
    lines = FILE.read_text().splitlines()
    not_shown = {MainModel: {"config", "offload"}, SubModel: set(), TranslationModel: set()}
    for entry, others in not_shown.items():
        for key in set(entry.model_fields) - others:
            explained = [line for line in lines if f"{key}:" in line and "#" in line]
            explained += [
                line
                for line, before in zip(lines[1:], lines, strict=False)
                if f"{key}:" in line and before.strip().startswith("#")
            ]
            assert explained, f"{entry.__name__}.{key}"
    assert yaml.safe_load(FILE.read_text()).keys() == ModelsFile.model_fields.keys()


def test_its_sub_models_act_on_their_families(registry: Registry) -> None:
    foreground = Image.new("RGBA", (64, 64))
    foreground.paste((200, 30, 30, 255), (16, 16, 40, 48))
    named = GenerationJob(
        job_id="job",
        model_name="PICPIK General",
        foreground=foreground,
        prompt="a clutter of boxes",
        num_inference_steps=6,
        adapters=(AdapterWeight("Product light"), AdapterWeight("clutter")),
    )
    plan = plan_job(named, registry)
    assert (plan.loras[0].weight, len(plan.embeddings)) == (0.8, 1)
    engine = Engine(registry)
    (plain,) = engine.generate(replace(named, adapters=()))
    (changed,) = engine.generate(named)
    assert plain.image.tobytes() != changed.image.tobytes()


@pytest.mark.parametrize("number", range(5))
def test_the_examples_of_the_page_are_valid(number: int, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 5
    file = tmp_path / "models.yaml"
    file.write_text(examples[number])
    assert read_models_file(file, must_exist=False).default_model == "my model"
