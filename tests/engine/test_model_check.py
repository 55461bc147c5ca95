"""Entries opened without their weights: what they are, and everything that does not fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from engine.checkpoint import load_checkpoint
from engine.memory import checkpoint_bytes
from engine.model_check import Match, ModelChecker
from engine.registry import ModelsFile, load_registry, read_models_file
from tests.engine.lora_files import CROSS_ATTENTION, write_lora
from tests.engine.pipelines.tiny_pipelines import write_pipeline_registry, write_tiny_pipeline

UNET = Path("nine") / "unet" / "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path, tiny_root: Path) -> Path:
    shutil.copytree(tiny_root / "nine", tmp_path / "nine")
    shutil.copytree(tiny_root / "four_kl", tmp_path / "four_kl")
    return tmp_path


def entries(folder: Path, *sub_models: dict[str, Any]) -> ModelsFile:
    models = [
        {"name": name, "path": name, "family": "sd1", "native_size_px": 512}
        for name in ("nine", "four_kl")
    ]
    content = {"default_model": "nine", "models": models, "sub_models": list(sub_models)}
    (folder / "models.yaml").write_text(yaml.safe_dump(content))
    return read_models_file(folder / "models.yaml")


def test_a_model_that_fits_is_described(folder: Path) -> None:
    nine, four_kl = entries(folder).models
    checker = ModelChecker(torch.float32)
    report = checker.check_main_model(nine)
    assert (report.family, report.in_channels, report.prediction_type) == (
        "sd1",
        9,
        "v_prediction",
    )
    assert report.problems == ()
    assert checker.check_main_model(four_kl).in_channels == 4
    for model in (nine, four_kl):
        loaded = load_checkpoint(model, device=torch.device("cpu"), dtype=torch.float32)
        measured = checkpoint_bytes(loaded)
        told = checker.check_main_model(model).num_bytes
        assert told is not None
        assert told == pytest.approx(measured, rel=0.01)  # buffers are not counted


def test_every_mismatch_of_names_and_shapes_is_a_line(folder: Path) -> None:
    weights = load_file(folder / UNET)
    del weights["conv_in.bias"], weights["conv_out.bias"]
    weights["conv_in.weight"] = weights["conv_in.weight"][:, :4].contiguous()
    weights["stranger"] = torch.zeros(1)
    save_file(weights, folder / UNET)
    nine, _ = entries(folder).models
    problems = ModelChecker().check_main_model(nine).problems
    assert len(problems) == 4
    for told in ("'conv_in.bias'", "'conv_out.bias'", "'stranger'", "[16, 4, 3, 3]"):
        assert sum(told in line for line in problems) == 1, told
    assert all(line.startswith(str(folder / UNET)) for line in problems)


@pytest.mark.parametrize("name", ["unet/config.json", "vae/config.json", "text_encoder"])
def test_what_is_missing_or_broken_is_one_line(folder: Path, name: str) -> None:
    path = folder / "nine" / name
    shutil.rmtree(path) if path.is_dir() else path.write_text("{")
    nine, _ = entries(folder).models
    (line,) = ModelChecker().check_main_model(nine).problems
    assert str(path) in line
    assert len(line.splitlines()) == 1


def test_a_pipeline_is_compared_too(tmp_path: Path) -> None:
    write_tiny_pipeline(tmp_path / "sd3", "sd3")
    model = write_pipeline_registry(tmp_path, sd3={}).main_model("sd3")
    report = ModelChecker().check_main_model(model)
    assert (report.family, report.in_channels, report.problems) == ("pipeline", None, ())
    assert report.num_bytes
    for name, lost in (("transformer", "context_embedder.weight"), ("text_encoder", None)):
        (file,) = (tmp_path / "sd3" / name).glob("*.safetensors")
        if lost is None:
            file.write_bytes(file.read_bytes()[:-1])
        else:
            weights = load_file(file)
            del weights[lost]
            save_file(weights, file)
        (line,) = ModelChecker().check_main_model(model).problems
        assert str(tmp_path / "sd3" / name) in line
        assert lost is None or repr(lost) in line


def test_a_loras_modules_are_counted_in_each_model_of_its_family(folder: Path) -> None:
    write_lora(folder / "glow.safetensors", width=32)
    weights = load_file(folder / "glow.safetensors")
    stray = {key.replace("blocks_1", "blocks_7"): tensor.clone() for key, tensor in weights.items()}
    save_file(weights | stray, folder / "glow.safetensors")
    parsed = entries(folder, {"name": "glow", "kind": "lora", "path": "glow.safetensors"})
    checker = ModelChecker()
    for model in parsed.models:
        checker.check_main_model(model)
    report = checker.check_sub_model(parsed.sub_models[0])
    assert (report.kind, report.num_parts, report.problems) == ("lora", 2, ())
    assert report.matches == (Match("nine", 1), Match("four_kl", 1))


def test_a_lora_that_matches_nothing_is_trouble(folder: Path) -> None:
    stem = CROSS_ATTENTION.replace("blocks_1", "blocks_7")
    write_lora(folder / "stray.safetensors", width=32, stem=stem)
    parsed = entries(folder, {"name": "stray", "kind": "lora", "path": "stray.safetensors"})
    checker = ModelChecker()
    checker.check_main_model(parsed.models[0])
    (line,) = checker.check_sub_model(parsed.sub_models[0]).problems
    assert "not one of its 1 modules" in line


def test_embeddings_and_hypernetworks_are_told(folder: Path) -> None:
    save_file({"emb_params": torch.randn(3, 768)}, folder / "mark.safetensors")
    save_file({"emb_params": torch.full((3, 768), float("nan"))}, folder / "bad.safetensors")
    torch.save({}, folder / "hyper.pt")
    parsed = entries(
        folder,
        {"name": "mark", "kind": "embedding", "path": "mark.safetensors"},
        {"name": "bad", "kind": "embedding", "path": "bad.safetensors"},
        {"name": "hyper", "kind": "hypernetwork", "path": "hyper.pt"},
    )
    mark, bad, hyper = map(ModelChecker().check_sub_model, parsed.sub_models)
    assert (mark.kind, mark.family, mark.num_parts, mark.problems) == ("embedding", "sd1", 3, ())
    assert "NaN" in bad.problems[0]
    assert "not supported" in hyper.problems[0]


def test_checking_leaves_the_registry_loadable(folder: Path) -> None:
    parsed = entries(folder)
    checker = ModelChecker()
    assert not any(checker.check_main_model(model).problems for model in parsed.models)
    assert load_registry(folder / "models.yaml").unusable == {}
