"""Law 3 for whole requests: whatever shares its forwards, an image is that of its solo run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from engine.engine import Engine
from engine.events import StepDone
from engine.job import AdapterWeight, GeneratedImage, GenerationJob, Sampler
from engine.registry import Registry, load_registry
from tests.engine.lora_files import write_unet_lora
from tests.engine.runs import assert_same_image, images
from tests.engine.tiny import EPSILON, V_ZERO_SNR, write_tiny_model, write_tiny_sdxl

MODELS = ("nine", "four", "xl")
LORAS = ("first", "second", "third")
SIDE_PX = 64


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A model of each kind, and three LoRAs of different ranks for each."""
    root: Path = tmp_path_factory.mktemp("mixes")
    write_tiny_model(root / "nine", in_channels=9, scheduler=V_ZERO_SNR)
    write_tiny_model(root / "four", in_channels=4, scheduler=EPSILON, kl=True)
    write_tiny_sdxl(root / "xl", in_channels=9, scheduler=EPSILON)
    family = {"nine": "sd1", "four": "sd1", "xl": "sdxl"}
    models = [
        {"name": name, "path": name, "family": family[name], "native_size_px": SIDE_PX}
        for name in MODELS
    ]
    loras = []
    for model in MODELS:
        for number, name in enumerate(LORAS):
            file = f"{model}-{name}.safetensors"
            write_unet_lora(root / file, root / model, rank=2 + 3 * number, seed=number)
            loras.append({"name": f"{model}-{name}", "kind": "lora", "path": file})
    content = {"default_model": "nine", "models": models, "sub_models": loras}
    (root / "models.yaml").write_text(yaml.safe_dump(content))
    return load_registry(root / "models.yaml")


def mixture(model: str) -> list[GenerationJob]:
    """Requests that have nothing in common but model and size: one a sampler."""
    rng = np.random.default_rng(0)
    jobs = []
    for number, sampler in enumerate(Sampler):
        pixels = rng.integers(0, 256, (SIDE_PX, SIDE_PX, 4), dtype=np.uint8)
        pixels[..., 3] = 0
        pixels[8 * (number % 4) : 40, 16 : 24 + 4 * number, 3] = 255
        reference = Image.fromarray(rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8))
        has_reference = number % 2 == 1
        names = [f"{model}-{LORAS[(number + each) % 3]}" for each in range(number % 3)]
        jobs.append(
            GenerationJob(
                job_id=sampler.value,
                model_name=model,
                foreground=Image.fromarray(pixels),
                prompt=f"a {'very ' * number}blue sky",
                negative_prompt="night" * (number % 2),
                reference=reference if has_reference else None,
                strength=0.3 + 0.08 * number if has_reference else 1.0,
                deep_fusion=number in (1, 5),
                adapters=tuple(AdapterWeight(name, 0.1 + 0.02 * number) for name in names),
                seed=1000 * number,
                num_images=1 + (number == 2),
                num_inference_steps=6 + number % 3,
                sampler=sampler,
                guidance_scale=(1.0, 3.0, 7.5)[number % 3],
            )
        )
    return jobs


def together(engine: Engine, jobs: list[GenerationJob]) -> dict[str, list[GeneratedImage]]:
    """All jobs in one engine, each joining while those before are under way."""
    waiting, rounds = list(jobs), []
    while waiting or engine.busy:
        if waiting:
            engine.add(waiting.pop(0))
        rounds.append(engine.step())
    shared = [{event.job_id for event in each if isinstance(event, StepDone)} for each in rounds]
    assert max(map(len, shared)) > 1, "no forward was shared"
    events = [event for each in rounds for event in each]
    return {job.job_id: images(events, job.job_id) for job in jobs}


@pytest.mark.parametrize("model", MODELS)
def test_a_request_among_others_gives_the_pixels_of_its_solo_run(
    registry: Registry, model: str
) -> None:
    engine = Engine(registry)
    jobs = mixture(model)
    alone = {job.job_id: engine.generate(job) for job in jobs}
    assert len({image.image.tobytes() for each in alone.values() for image in each}) == 9
    shared = together(engine, jobs)
    for name, solo in alone.items():
        for image, other in zip(shared[name], solo, strict=True):
            assert_same_image(image, other)


@pytest.mark.parametrize("model", MODELS)
def test_with_batch_invariant_they_are_equal_to_the_byte(registry: Registry, model: str) -> None:
    engine = Engine(registry, batch_invariant=True, max_lanes=4)
    jobs = mixture(model)
    alone = {job.job_id: engine.generate(job) for job in jobs}
    shared = together(engine, jobs)
    for name, solo in alone.items():
        for image, other in zip(shared[name], solo, strict=True):
            assert image.image.tobytes() == other.image.tobytes()


def test_the_order_of_arrival_changes_no_pixel(registry: Registry) -> None:
    engine = Engine(registry)
    jobs = mixture("nine")
    forward = together(engine, jobs)
    backward = together(engine, jobs[::-1])
    for name, ours in forward.items():
        for image, other in zip(ours, backward[name], strict=True):
            assert_same_image(image, other)
