"""Embeddings as jobs use them: named as a sub-model, spoken of by their trigger word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from engine.checkpoint import load_checkpoint
from engine.encoding_cache import EncodingCache
from engine.engine import Engine
from engine.errors import JobError, WeightsUnavailable
from engine.job import AdapterWeight, GenerationJob
from engine.plan import plan_job
from engine.prepare import prepare_prompts
from engine.registry import Registry, load_registry

VECTORS = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))


def write_registry(folder: Path, model: Path, **sub_model: Any) -> Registry:
    main = {"name": "nine", "path": str(model), "native_size_px": 512, "min_area_ratio": 0}
    entry = {"name": "mark", "kind": "embedding", "family": "sd1"} | sub_model
    content = {"default_model": "nine", "models": [main], "sub_models": [entry]}
    file = folder / "models.yaml"
    file.write_text(yaml.safe_dump(content))
    return load_registry(file)


@pytest.fixture
def registry(tiny_root: Path, tmp_path: Path) -> Registry:
    save_file({"emb_params": VECTORS}, tmp_path / "mark.safetensors")
    return write_registry(tmp_path, tiny_root / "nine", path="mark.safetensors")


def embeds(registry: Registry, job: GenerationJob) -> tuple[torch.Tensor, torch.Tensor]:
    plan = plan_job(job, registry)
    checkpoint = load_checkpoint(plan.model, device=torch.device("cpu"), dtype=torch.float32)
    encoded = prepare_prompts(plan, checkpoint, (), EncodingCache())
    return encoded.prompt_embeds, encoded.negative_prompt_embeds


def test_an_embedding_acts_where_its_word_stands(registry: Registry, job: GenerationJob) -> None:
    plain = replace(job, prompt="blue mark sky", negative_prompt="night")
    named = replace(plain, adapters=(AdapterWeight("mark"),))
    before, after = embeds(registry, plain), embeds(registry, named)
    assert torch.equal(after[0][:, :2], before[0][:, :2])  # the start token and "blue"
    assert not torch.equal(after[0][:, 2], before[0][:, 2])
    assert torch.equal(after[1], before[1])


def test_an_embedding_acts_in_the_negative_prompt(registry: Registry, job: GenerationJob) -> None:
    plain = replace(job, prompt="blue sky", negative_prompt="mark")
    named = replace(plain, adapters=(AdapterWeight("mark"),))
    before, after = embeds(registry, plain), embeds(registry, named)
    assert torch.equal(after[0], before[0])
    assert not torch.equal(after[1], before[1])


def test_its_own_words_stand_for_it_in_place_of_its_name(
    registry: Registry, job: GenerationJob, tiny_root: Path, tmp_path: Path
) -> None:
    by_name = embeds(registry, replace(job, prompt="mark", adapters=(AdapterWeight("mark"),)))
    worded = write_registry(
        tmp_path, tiny_root / "nine", path="mark.safetensors", trigger_words=["abc", "<toy>"]
    )
    for word in ("abc", "<TOY>"):
        named = replace(job, prompt=word, adapters=(AdapterWeight("mark"),))
        assert torch.equal(embeds(worded, named)[0], by_name[0])
    unused = replace(job, prompt="mark")
    with_it = replace(unused, adapters=(AdapterWeight("mark"),))
    assert torch.equal(embeds(worded, with_it)[0], embeds(worded, unused)[0])


def test_an_embedding_changes_the_image(registry: Registry, job: GenerationJob) -> None:
    engine = Engine(registry)
    plain = replace(job, prompt="mark", guidance_scale=7.5)
    named = replace(plain, adapters=(AdapterWeight("mark"),))
    (before,), (after,), (again,) = (engine.generate(each) for each in (plain, named, plain))
    assert after.image.tobytes() != before.image.tobytes()
    assert again.image.tobytes() == before.image.tobytes()


def test_a_pickled_embedding_needs_leave(
    tiny_root: Path, tmp_path: Path, registry: Registry, job: GenerationJob
) -> None:
    torch.save({"string_to_param": {"*": VECTORS}}, tmp_path / "mark.pt")
    allowed = write_registry(tmp_path, tiny_root / "nine", path="mark.pt", allow_pickle=True)
    named = replace(job, prompt="mark", adapters=(AdapterWeight("mark"),))
    assert torch.equal(embeds(allowed, named)[0], embeds(registry, named)[0])
    refused = write_registry(tmp_path, tiny_root / "nine", path="mark.pt")
    with pytest.raises(WeightsUnavailable, match="allow_pickle"):
        plan_job(named, refused)


def test_an_embedding_of_another_width_is_refused_by_the_plan(
    tiny_root: Path, tmp_path: Path, job: GenerationJob
) -> None:
    save_file({"emb_params": torch.zeros(1, 768)}, tmp_path / "mark.safetensors")
    registry = write_registry(tmp_path, tiny_root / "nine", path="mark.safetensors")
    with pytest.raises(JobError, match="width 768") as caught:
        plan_job(replace(job, adapters=(AdapterWeight("mark"),)), registry)
    assert caught.value.field == "adapters"
