"""The engine's loop: models side by side, events, cancel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.engine import Engine
from engine.errors import WeightsUnavailable
from engine.events import Event, ImageDone, ImageFailed, JobDone, StepDone
from engine.job import GenerationJob, Sampler
from engine.registry import Registry
from tests.engine.runs import assert_same_image, drain, embedded, images
from tests.engine.tiny import EPSILON, write_registry, write_tiny_model


@pytest.mark.parametrize("model_name", ["nine", "four", "four_kl"])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_every_kind_of_checkpoint_paints(
    tiny_engine: Engine, job: GenerationJob, model_name: str, strength: float
) -> None:
    reference = Image.new("RGB", (50, 50), "orange")
    job = replace(job, model_name=model_name, reference=reference, strength=strength)
    (image,) = tiny_engine.generate(job)
    assert image.parameters["model_name"] == model_name
    assert np.asarray(image.image)[np.asarray(job.foreground)[..., 3] == 0].std() > 0


def test_jobs_of_different_checkpoints_run_side_by_side(
    tiny_engine: Engine, job: GenerationJob
) -> None:
    names = ["nine", "four", "four_kl"]
    alone = {name: tiny_engine.generate(replace(job, model_name=name))[0] for name in names}
    for name in names:
        tiny_engine.add(replace(job, job_id=name, model_name=name))
    events = drain(tiny_engine)
    for name in names:
        assert_same_image(images(events, name)[0], alone[name])
    turns = [event.job_id for event in events if isinstance(event, StepDone)]
    assert set(turns[:6]) == set(names), "no group waits for another to finish"


def test_base_weights_are_never_written(tiny_registry: Registry, job: GenerationJob) -> None:
    engine = Engine(tiny_registry)
    before = weights(engine, tiny_registry)
    engine.generate(replace(job, num_images=2, sampler=Sampler.EULER_ANCESTRAL))
    after = weights(engine, tiny_registry)
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert torch.equal(weight, after[name]), name


def test_a_shared_vae_gives_way_to_the_own_one_on_request(
    tiny_root: Path, job: GenerationJob
) -> None:
    registry = write_registry(tiny_root, four={"shared_vae": "four_kl/vae"})
    engine = Engine(registry)
    job = replace(job, model_name="four")
    (shared,) = engine.generate(job)
    (own,) = engine.generate(replace(job, use_checkpoint_vae=True))
    (plain,) = Engine(write_registry(tiny_root, four={})).generate(job)
    assert own.image.tobytes() == plain.image.tobytes()
    assert own.image.tobytes() != shared.image.tobytes()


def test_a_truncated_weight_file_fails_its_job_and_no_other(
    tmp_path: Path, job: GenerationJob
) -> None:
    for name in ("good", "broken"):
        write_tiny_model(tmp_path / name, in_channels=9, scheduler=EPSILON)
    weights = tmp_path / "broken" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    engine = Engine(write_registry(tmp_path, good={}, broken={}))
    engine.add(replace(job, job_id="good", model_name="good"))
    engine.add(replace(job, job_id="broken", model_name="broken"))
    events = drain(engine)
    (failure,) = [event for event in events if isinstance(event, ImageFailed)]
    assert isinstance(failure.error, WeightsUnavailable)
    assert "broken" in str(failure.error)
    assert "\n" not in str(failure.error)
    assert len(images(events, "good")) == 1


def weights(engine: Engine, registry: Registry) -> dict[str, torch.Tensor]:
    checkpoint = engine._models.get(registry.main_model("nine"))
    modules = {"unet": checkpoint.unet, "text_encoder": checkpoint.text_encoders[0]}
    return {
        f"{name}.{key}": tensor.clone()
        for name, module in modules.items()
        for key, tensor in module.state_dict().items()
    }


def test_events_count_every_step_and_end_with_the_job(
    tiny_engine: Engine, job: GenerationJob
) -> None:
    seen: list[Event] = []
    tiny_engine.generate(replace(job, num_images=2), on_event=seen.append)
    steps = [event for event in seen if isinstance(event, StepDone)]
    for index in range(2):
        assert [s.step for s in steps if s.image_index == index] == [1, 2, 3, 4, 5, 6]
    assert {s.num_steps for s in steps} == {6}
    assert sum(isinstance(event, ImageDone) for event in seen) == 2
    assert seen[-1] == JobDone("job")


def test_heun_counts_both_forwards_of_a_step(tiny_engine: Engine, job: GenerationJob) -> None:
    seen: list[Event] = []
    forwards = 0

    def count(*_: object) -> None:
        nonlocal forwards
        forwards += 1

    checkpoint = tiny_engine._models.get(tiny_engine.registry.main_model("nine"))
    with checkpoint.unet.register_forward_hook(count):
        tiny_engine.generate(replace(job, sampler=Sampler.HEUN), on_event=seen.append)
    steps = [event for event in seen if isinstance(event, StepDone)]
    assert forwards == 2 * 6 - 1
    assert [s.step for s in steps] == list(range(1, forwards + 1))
    assert {s.num_steps for s in steps} == {forwards}


def test_both_passes_count_as_one_run(embedded_engine: Engine, product: Image.Image) -> None:
    seen: list[Event] = []
    job = embedded(product, width_px=400, height_px=400)
    embedded_engine.generate(job, on_event=seen.append)
    steps = [event for event in seen if isinstance(event, StepDone)]
    assert [s.step for s in steps] == list(range(1, steps[-1].num_steps + 1))
    assert steps[-1].num_steps > 6


def test_cancel_frees_the_engine_and_spares_the_neighbour(
    tiny_engine: Engine, job: GenerationJob
) -> None:
    neighbour = replace(job, job_id="neighbour", num_images=2)
    expected = tiny_engine.generate(neighbour)
    tiny_engine.add(job)
    tiny_engine.add(neighbour)
    tiny_engine.step()
    tiny_engine.step()
    assert tiny_engine.cancel("job")
    events = drain(tiny_engine)
    assert all(event.job_id == "neighbour" for event in events)
    for image, other in zip(images(events, "neighbour"), expected, strict=True):
        assert_same_image(image, other)
    assert not tiny_engine.cancel("job")


def test_a_waiting_job_can_be_cancelled(tiny_engine: Engine, job: GenerationJob) -> None:
    tiny_engine.add(job)
    assert tiny_engine.cancel("job")
    assert not tiny_engine.busy
    assert tiny_engine.step() == []
