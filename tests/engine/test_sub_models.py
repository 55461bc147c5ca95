"""Sub-models of models.yaml: what an entry may say, and which jobs may use it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from engine.errors import (
    JobError,
    ParameterOutOfRange,
    RegistryError,
    UnknownLora,
    UnsuitableSubModel,
    WeightsUnavailable,
)
from engine.job import AdapterWeight, GenerationJob
from engine.plan import plan_job
from engine.registry import Registry, load_registry
from tests.engine.lora_files import write_lora

TINY_WIDTH = 32


@pytest.fixture
def folder(tmp_path: Path, tiny_root: Path) -> Path:
    (tmp_path / "nine").symlink_to(tiny_root / "nine")
    write_lora(tmp_path / "glow.safetensors", width=TINY_WIDTH)
    write_lora(tmp_path / "sdxl.safetensors", width=2048)
    write_lora(tmp_path / "wide.safetensors", width=48)
    save_file({"emb_params": torch.randn(2, TINY_WIDTH)}, tmp_path / "mark.safetensors")
    save_file({"emb_params": torch.randn(2, 1024)}, tmp_path / "sd2_mark.safetensors")
    torch.save({768: [{}, {}]}, tmp_path / "hyper.pt")
    return tmp_path


def registry_with(folder: Path, *sub_models: dict[str, Any]) -> Registry:
    main = {"name": "nine", "path": "nine", "native_size_px": 512, "min_area_ratio": 0}
    content = {"default_model": "nine", "models": [main], "sub_models": list(sub_models)}
    (folder / "models.yaml").write_text(yaml.safe_dump(content))
    return load_registry(folder / "models.yaml")


def lora(name: str = "glow", **fields: Any) -> dict[str, Any]:
    return {"name": name, "kind": "lora", "path": f"{name}.safetensors"} | fields


def embedding(name: str = "mark", **fields: Any) -> dict[str, Any]:
    return {"name": name, "kind": "embedding", "path": f"{name}.safetensors"} | fields


def using(job: GenerationJob, *adapters: AdapterWeight) -> GenerationJob:
    return replace(job, adapters=adapters)


def test_a_job_gets_its_sub_models_by_kind_and_in_order(folder: Path, job: GenerationJob) -> None:
    write_lora(folder / "dusk.safetensors", width=TINY_WIDTH)
    registry = registry_with(folder, lora(), embedding(), lora("dusk", default_weight=0.8))
    plan = plan_job(
        using(job, AdapterWeight("dusk"), AdapterWeight("mark"), AdapterWeight("glow", -0.5)),
        registry,
    )
    assert [(each.sub_model.name, each.weight) for each in plan.loras] == [
        ("dusk", 0.8),
        ("glow", -0.5),
    ]
    assert [each.name for each in plan.embeddings] == ["mark"]
    assert plan.loras[1].sub_model.path == folder / "glow.safetensors"


@pytest.mark.parametrize("weight", [-1.01, 2.01, math.nan, math.inf])
def test_a_weight_out_of_range_is_refused(folder: Path, job: GenerationJob, weight: float) -> None:
    registry = registry_with(folder, lora())
    with pytest.raises(ParameterOutOfRange, match="'glow'"):
        plan_job(using(job, AdapterWeight("glow", weight)), registry)


def test_an_embedding_is_weighed_in_the_prompt(folder: Path, job: GenerationJob) -> None:
    registry = registry_with(folder, embedding(trigger_words=["blotch"]))
    assert plan_job(using(job, AdapterWeight("mark", 1.0)), registry).embeddings
    with pytest.raises(ParameterOutOfRange, match=r"\(blotch:1\.5\)"):
        plan_job(using(job, AdapterWeight("mark", 1.5)), registry)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (lora("sdxl"), ["sdxl", "sd1"]),
        (lora("wide"), ["48", "32"]),
        (embedding("sd2_mark"), ["sd2", "sd1"]),
        ({"name": "hyper", "kind": "hypernetwork", "path": "hyper.pt"}, ["hypernetworks"]),
    ],
)
def test_what_does_not_fit_the_main_model_is_refused_before_any_work(
    folder: Path, job: GenerationJob, entry: dict[str, Any], told: list[str]
) -> None:
    registry = registry_with(folder, entry)
    with pytest.raises(UnsuitableSubModel) as caught:
        plan_job(using(job, AdapterWeight(entry["name"])), registry)
    assert caught.value.field == "adapters"
    for word in [repr(entry["name"]), *told]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("adapters", "error", "told"),
    [
        (("glow", "none such"), UnknownLora, "'none such'"),
        (("glow", "mark", "glow"), UnsuitableSubModel, "'glow' is named twice"),
        (("mark", "mark_2"), UnsuitableSubModel, "share the word"),
        (tuple(f"x{index}" for index in range(17)), ParameterOutOfRange, "17 sub-models"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(
    folder: Path, job: GenerationJob, adapters: tuple[str, ...], error: type[JobError], told: str
) -> None:
    second = embedding("mark_2", path="mark.safetensors", trigger_words=["MARK"])
    registry = registry_with(folder, lora(), embedding(), second)
    with pytest.raises(error, match=told):
        plan_job(using(job, *map(AdapterWeight, adapters)), registry)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (lora(kind="lycoris"), ["'glow'", "kind"]),
        (lora(default_weight=2.5), ["'glow'", "default_weight"]),
        (lora(family="sd9"), ["'glow'", "family"]),
        (lora(weight=1), ["'glow'", "weight"]),
        (lora(path="nowhere.safetensors"), ["'glow'", "path", "nowhere"]),
        (lora(path="nine"), ["'glow'", "path", "not a file"]),
        (lora(path="a\0b"), ["'glow'", "path"]),
        (lora(path="x" * 5000), ["'glow'", "path"]),
        (lora(path="package:../../glow"), ["'glow'", "path"]),
        (lora(allow_pickle=True), ["'glow'", "allow_pickle"]),
        (lora(source="https://example.org/glow"), ["'glow'", "source", "hf:OWNER/REPO"]),
        (lora(source="hf:a/b@main/../glow.safetensors"), ["'glow'", "source"]),
        (embedding(default_weight=1.0), ["'mark'", "default_weight"]),
        (embedding(trigger_words=[""]), ["'mark'", "trigger_words"]),
        (lora("nine", path="glow.safetensors"), ["'nine'", "used twice"]),
        (lora("sdxl", family="sd1"), ["'sdxl'", "sdxl", "sd1"]),
        ({"kind": "lora", "path": "glow.safetensors"}, ["entry 1", "name"]),
    ],
)
def test_a_mistake_in_an_entry_names_it_in_one_line(
    folder: Path, entry: dict[str, Any], told: list[str]
) -> None:
    with pytest.raises(RegistryError) as caught:
        registry_with(folder, entry)
    for word in [str(folder / "models.yaml"), *told]:
        assert word in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _long_header(path: Path) -> None:
    path.write_bytes((2**60).to_bytes(8, "little") + path.read_bytes()[8:])


def _page(path: Path) -> None:
    path.write_text("<html>404</html>")


@pytest.mark.parametrize("damage", [_cut, _long_header, _page])
@pytest.mark.parametrize("entry", [lora(), embedding()])
def test_a_damaged_file_is_told_in_one_line_and_the_rest_is_served(
    folder: Path, job: GenerationJob, entry: dict[str, Any], damage: Any
) -> None:
    damage(folder / entry["path"])
    write_lora(folder / "good.safetensors", width=TINY_WIDTH)
    registry = registry_with(folder, entry, lora("good"))
    assert list(registry.unusable) == [entry["name"]]
    (line,) = registry.unusable.values()
    assert str(folder / entry["path"]) in line
    assert len(line.splitlines()) == 1
    with pytest.raises(WeightsUnavailable):
        plan_job(using(job, AdapterWeight(entry["name"])), registry)
    assert plan_job(using(job, AdapterWeight("good")), registry).loras


def test_a_hypernetwork_is_told_at_the_start(folder: Path) -> None:
    registry = registry_with(folder, {"name": "hyper", "kind": "hypernetwork", "path": "hyper.pt"})
    assert "not supported" in registry.unusable["hyper"]
