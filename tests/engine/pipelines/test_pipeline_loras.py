"""LoRAs on pipeline models: what they do, and that nothing of them stays (law 4)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.engine import Engine
from engine.errors import IncompatibleAdapter, PipelineFailed
from engine.events import StepDone
from engine.job import AdapterWeight, GenerationJob
from tests.engine.adapters.lora_writer import normal
from tests.engine.pipelines.forwards import Forwards, loaded
from tests.engine.pipelines.tiny_pipelines import write_pipeline_registry
from tests.engine.runs import array, drain, images

TARGETS = {
    "sd3": "transformer_blocks.0.attn.to_q",
    "flux": "single_transformer_blocks.0.attn.to_v",
    "flux_fill": "transformer_blocks.0.attn.to_k",
    "qwen_image": "transformer_blocks.1.attn.to_out.0",
    "z_image": "layers.0.attention.to_q",
}
RANK = 3


@pytest.fixture(params=sorted(TARGETS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(pipelines_root: Path, tmp_path: Path, kind: str) -> Path:
    """A copy of the model to write beside."""
    shutil.copytree(pipelines_root / kind, tmp_path / kind)
    return tmp_path


@pytest.fixture
def flux_root(pipelines_root: Path, tmp_path: Path) -> Path:
    shutil.copytree(pipelines_root / "flux", tmp_path / "flux")
    return tmp_path


def write_lora(root: Path, kind: str, name: str, seed: int = 0) -> np.ndarray:
    """A LoRA of one layer in diffusers' spelling; returns the dense update it stands for."""
    rng = np.random.default_rng(seed)
    rows, columns = transformer(root, kind)[f"{TARGETS[kind]}.weight"].shape
    down, up = normal(rng, RANK, columns), normal(rng, rows, RANK)
    stem = f"transformer.{TARGETS[kind]}"
    parts = {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
    tensors = {key: torch.from_numpy(part).float() for key, part in parts.items()}
    save_file(tensors, root / f"{name}.safetensors")
    return up @ down


def transformer(root: Path, kind: str) -> dict[str, torch.Tensor]:
    return load_file(weights_file(root, kind))


def weights_file(root: Path, kind: str) -> Path:
    return root / kind / "transformer" / "diffusion_pytorch_model.safetensors"


def using(job: GenerationJob, kind: str, **weights: float) -> GenerationJob:
    adapters = tuple(AdapterWeight(name, weight) for name, weight in weights.items())
    return replace(job, model_name=kind, adapters=adapters)


def state(engine: Engine, kind: str) -> dict[str, torch.Tensor]:
    """Names and values of all weights, and the classes of all modules."""
    modules = loaded(engine, kind).modules
    tensors = {}
    for index, module in enumerate(modules):
        for name, tensor in module.state_dict().items():
            tensors[f"{index}.{name}"] = tensor.clone()
    return tensors


def classes(engine: Engine, kind: str) -> list[str]:
    return [
        f"{name}: {type(module).__name__}"
        for part in loaded(engine, kind).modules
        for name, module in part.named_modules()
    ]


def assert_same_state(engine: Engine, kind: str, before: dict[str, torch.Tensor]) -> None:
    after = state(engine, kind)
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name


def test_loras_are_their_weighted_sum_and_leave_the_base_as_it_was(
    root: Path, kind: str, flux_job: GenerationJob
) -> None:
    one, two = (write_lora(root, kind, name, seed) for seed, name in enumerate(("one", "two")))
    engine = Engine(write_pipeline_registry(root, **{kind: {}}))
    (plain,) = engine.generate(using(flux_job, kind))
    before, module_classes = state(engine, kind), classes(engine, kind)
    (image,) = engine.generate(using(flux_job, kind, one=1.5, two=-0.5))
    assert image.parameters["adapters"] == [["one", 1.5], ["two", -0.5]]
    assert_same_state(engine, kind, before)
    assert classes(engine, kind) == module_classes
    assert engine.generate(using(flux_job, kind))[0].image.tobytes() == plain.image.tobytes()

    merged = transformer(root, kind)
    merged[f"{TARGETS[kind]}.weight"] += torch.from_numpy(1.5 * one - 0.5 * two).float()
    save_file(merged, weights_file(root, kind), metadata={"format": "pt"})
    (expected,) = Engine(write_pipeline_registry(root, **{kind: {}})).generate(
        using(flux_job, kind)
    )
    difference = np.abs(array(image) - array(expected))
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.99
    assert image.image.tobytes() != plain.image.tobytes()


def test_a_lora_of_weight_0_is_not_even_loaded(flux_root: Path, flux_job: GenerationJob) -> None:
    write_lora(flux_root, "flux", "one")
    engine = Engine(write_pipeline_registry(flux_root, flux={}))
    (plain,) = engine.generate(flux_job)
    module_classes = classes(engine, "flux")
    engine.add(using(flux_job, "flux", one=0.0))
    events = engine.step()
    assert classes(engine, "flux") == module_classes
    (image,) = images(events + drain(engine), "job")
    assert image.image.tobytes() == plain.image.tobytes()


@pytest.mark.parametrize("end", ["failure", "cancel"])
def test_the_base_is_restored_when_a_job_ends_half_way(
    flux_root: Path, flux_job: GenerationJob, end: str
) -> None:
    write_lora(flux_root, "flux", "one")
    engine = Engine(write_pipeline_registry(flux_root, flux={}))
    (plain,) = engine.generate(flux_job)
    before, module_classes = state(engine, "flux"), classes(engine, "flux")

    def fail(count: int) -> None:
        if count == 3:
            assert classes(engine, "flux") != module_classes
            raise ValueError("half-way")

    job = using(flux_job, "flux", one=1.0)
    if end == "failure":
        with (
            Forwards(engine, "flux", fail),
            pytest.raises(PipelineFailed, match="half-way"),
        ):
            engine.generate(job)
    else:
        engine.add(job)
        while not any(isinstance(event, StepDone) for event in engine.step()):
            pass
        assert classes(engine, "flux") != module_classes
        engine.cancel("job")
    assert_same_state(engine, "flux", before)
    assert classes(engine, "flux") == module_classes
    assert engine.generate(flux_job)[0].image.tobytes() == plain.image.tobytes()


def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    old, new = "single_transformer_blocks", "no_blocks"
    return {key.replace(old, new): tensor.clone() for key, tensor in tensors.items()}


def narrowed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: t[:, :8].clone() if "lora_A" in key else t for key, t in tensors.items()}


def widened(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: t.repeat(1, 2) if "lora_A" in key else t for key, t in tensors.items()}


def with_a_norm(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = "transformer.single_transformer_blocks.0.attn.norm_q.weight"
    return tensors | {name: torch.full((16,), 9.0)}


@pytest.mark.parametrize("damage", [renamed, narrowed, widened, with_a_norm])
def test_a_lora_that_does_not_fit_fails_the_job_in_one_line_and_leaves_nothing(
    flux_root: Path,
    flux_job: GenerationJob,
    damage: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
) -> None:
    write_lora(flux_root, "flux", "good")
    bad = flux_root / "bad.safetensors"
    save_file(damage(load_file(flux_root / "good.safetensors")), bad)
    engine = Engine(write_pipeline_registry(flux_root, flux={}))
    (plain,) = engine.generate(flux_job)
    before, module_classes = state(engine, "flux"), classes(engine, "flux")
    with pytest.raises(IncompatibleAdapter) as caught:
        engine.generate(using(flux_job, "flux", good=1.0, bad=1.0))
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_same_state(engine, "flux", before)
    assert classes(engine, "flux") == module_classes
    assert engine.generate(flux_job)[0].image.tobytes() == plain.image.tobytes()


def test_all_images_of_a_job_whose_lora_does_not_fit_fail(
    flux_root: Path, flux_job: GenerationJob
) -> None:
    write_lora(flux_root, "flux", "good")
    save_file(renamed(load_file(flux_root / "good.safetensors")), flux_root / "bad.safetensors")
    engine = Engine(write_pipeline_registry(flux_root, flux={}))
    engine.add(replace(using(flux_job, "flux", bad=1.0), num_images=3))
    events = drain(engine)
    assert [type(event).__name__ for event in events] == ["ImageFailed"] * 3 + ["JobDone"]


def test_the_alpha_that_diffusers_writes_into_the_header_counts(
    flux_root: Path, flux_job: GenerationJob
) -> None:
    write_lora(flux_root, "flux", "plain")
    tensors = load_file(flux_root / "plain.safetensors")
    config = {"transformer.r": RANK, "transformer.lora_alpha": 2 * RANK}
    config["transformer.target_modules"] = [TARGETS["flux"]]
    header = {"format": "pt", "lora_adapter_metadata": json.dumps(config)}
    save_file(tensors, flux_root / "doubled.safetensors", metadata=header)
    engine = Engine(write_pipeline_registry(flux_root, flux={}))
    (doubled,) = engine.generate(using(flux_job, "flux", doubled=1.0))
    (twice,) = engine.generate(using(flux_job, "flux", plain=2.0))
    assert np.abs(array(doubled) - array(twice)).max() <= 1


def test_a_partial_match_is_told_in_the_parameters(
    flux_root: Path, flux_job: GenerationJob
) -> None:
    write_lora(flux_root, "flux", "whole")
    tensors = load_file(flux_root / "whole.safetensors")
    save_file(tensors | renamed(tensors), flux_root / "partial.safetensors")
    engine = Engine(write_pipeline_registry(flux_root, flux={}))
    (partial,) = engine.generate(using(flux_job, "flux", partial=1.0))
    (whole,) = engine.generate(using(flux_job, "flux", whole=1.0))
    (note,) = partial.parameters["notes"]
    assert note.startswith("partial: 1 of its parts have no place in this model (first: ")
    assert whole.parameters["notes"] == []
    assert partial.image.tobytes() == whole.image.tobytes()


def test_the_kohya_spelling_is_read(flux_root: Path, flux_job: GenerationJob) -> None:
    rng = np.random.default_rng(3)
    layer = "single_transformer_blocks.0.proj_out.weight"
    merged = transformer(flux_root, "flux")
    rows, columns = merged[layer].shape
    down, up = normal(rng, RANK, columns), normal(rng, rows, RANK)
    stem = "lora_unet_single_blocks_0_linear2"
    tensors = {
        f"{stem}.lora_down.weight": torch.from_numpy(down).float(),
        f"{stem}.lora_up.weight": torch.from_numpy(up).float(),
        f"{stem}.alpha": torch.tensor(RANK / 2),
    }
    save_file(tensors, flux_root / "kohya.safetensors")
    engine = Engine(write_pipeline_registry(flux_root, flux={}))
    (image,) = engine.generate(using(flux_job, "flux", kohya=1.0))
    (plain,) = engine.generate(flux_job)

    merged[layer] += torch.from_numpy(up @ down / 2).float()
    save_file(merged, weights_file(flux_root, "flux"), metadata={"format": "pt"})
    (expected,) = Engine(write_pipeline_registry(flux_root, flux={})).generate(flux_job)
    assert np.abs(array(image) - array(expected)).max() <= 1
    assert np.abs(array(image) - array(plain)).max() > 1
