"""SDXL in the step loop: what its UNet is told beside the prompt, and a VAE that stays float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.checkpoint import load_checkpoint
from engine.engine import Engine
from engine.job import GenerationJob
from engine.plan import plan_job
from engine.prepare import prepare_job
from engine.registry import Registry
from tests.engine.runs import assert_same_image, drain, images
from tests.engine.tiny import EPSILON, V_ZERO_SNR, write_registry, write_tiny_sdxl


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root: Path = tmp_path_factory.mktemp("sdxl")
    write_tiny_sdxl(root / "nine", in_channels=9, scheduler=V_ZERO_SNR)
    write_tiny_sdxl(root / "four", in_channels=4, scheduler=EPSILON, kl=True)
    entry = {"family": "sdxl", "native_size_px": 128}
    return write_registry(root, nine=entry, four=entry)


@pytest.mark.parametrize("name", ["nine", "four"])
def test_image_i_of_a_batch_is_the_single_image_of_seed_plus_i(
    registry: Registry, job: GenerationJob, name: str
) -> None:
    engine = Engine(registry)
    job = replace(job, model_name=name)
    batch = engine.generate(replace(job, num_images=2))
    for index, image in enumerate(batch):
        (single,) = engine.generate(replace(job, seed=job.seed + index))
        assert_same_image(image, single)


def test_jobs_of_other_prompts_and_guidance_share_a_forward_unharmed(
    registry: Registry, job: GenerationJob
) -> None:
    engine = Engine(registry)
    other = replace(job, job_id="other", prompt="night city", negative_prompt="fog")
    unguided = replace(job, job_id="unguided", prompt="sea", guidance_scale=1.0)
    (alone,) = engine.generate(job)
    for each in (other, unguided, job):
        engine.add(each)
    assert_same_image(images(drain(engine), "job")[0], alone)


def test_each_pass_is_told_its_own_size(registry: Registry, job: GenerationJob) -> None:
    plan = plan_job(replace(job, width_px=392, height_px=250), registry)
    checkpoint = load_checkpoint(plan.model, device=torch.device("cpu"), dtype=torch.float32)
    assert len(plan.passes) == 2
    conditionings = prepare_job(plan, checkpoint).conditionings
    for each, conditioning in zip(plan.passes, conditionings, strict=True):
        size = [each.height_px, each.width_px]
        assert conditioning.time_ids is not None
        assert conditioning.time_ids.tolist() == [[*size, 0, 0, *size]]
    assert [plan.passes[1].height_px, plan.passes[1].width_px] == [256, 392]


def test_a_vae_that_needs_float32_stays_there_while_the_rest_is_small(
    registry: Registry, job: GenerationJob
) -> None:
    engine = Engine(registry, dtype=torch.bfloat16)
    checkpoint = engine._models.get(registry.main_model("four"))
    vae = checkpoint.vae.module
    assert vae.config.force_upcast
    moves: list[object] = []
    vae.to = lambda *arguments, **_: moves.append(arguments)
    engine.generate(replace(job, model_name="four"))
    assert not moves
    assert {each.dtype for each in vae.parameters()} == {torch.float32}
    for module in (checkpoint.unet, *checkpoint.text_encoders):
        assert {each.dtype for each in module.parameters()} == {torch.bfloat16}
