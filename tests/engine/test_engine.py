"""The engine's promises: seeds, isolation, failure of one image alone, cancel, progress."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.engine import Engine
from engine.errors import GpuOutOfMemory, NonFiniteResult, UnknownModel, WeightsUnavailable
from engine.events import Event, ImageDone, ImageFailed, JobDone, StepDone
from engine.job import GeneratedImage, GenerationJob, Sampler
from engine.prepare import prepare_canvas
from engine.registry import Registry
from tests.engine.tiny import EPSILON, write_registry, write_tiny_model


@pytest.fixture
def job(product: Image.Image) -> GenerationJob:
    return GenerationJob(
        job_id="job",
        model_name="nine",
        foreground=product,
        prompt="blue sky",
        seed=40,
        num_inference_steps=6,
    )


# --- law 3: a seed is a promise ---


@pytest.mark.parametrize("sampler", Sampler)
def test_image_i_of_a_batch_is_the_single_image_of_seed_plus_i(
    embedded_engine: Engine, product: Image.Image, sampler: Sampler
) -> None:
    job = _embedded(product, sampler=sampler, num_images=3, seed=5)
    batch = embedded_engine.generate(job)
    for index, image in enumerate(batch):
        (single,) = embedded_engine.generate(replace(job, num_images=1, seed=5 + index))
        assert image.seed == single.seed == 5 + index
        _assert_same_image(image, single)


def test_neighbours_of_other_jobs_do_not_change_an_image(
    embedded_engine: Engine, product: Image.Image
) -> None:
    job = _embedded(product, sampler=Sampler.EULER_ANCESTRAL, seed=8)
    other = _embedded(product, sampler=Sampler.DPMPP_2M, guidance_scale=1.0, seed=1)
    other = replace(other, job_id="other", prompt="night city", num_inference_steps=9)
    (alone,) = embedded_engine.generate(job)
    embedded_engine.add(other)
    embedded_engine.step()  # joins a lane that is under way
    embedded_engine.add(job)
    _assert_same_image(_images(_drain(embedded_engine), "job")[0], alone)


def test_batch_invariant_makes_them_equal_to_the_byte(
    embedded_registry: Registry, product: Image.Image
) -> None:
    engine = Engine(embedded_registry, batch_invariant=True, max_lanes=3)
    job = _embedded(product, sampler=Sampler.EULER_ANCESTRAL, num_images=3, seed=5)
    batch = engine.generate(job)
    for index, image in enumerate(batch):
        (single,) = engine.generate(replace(job, num_images=1, seed=5 + index))
        assert image.image.tobytes() == single.image.tobytes()


def test_the_same_job_repeated_is_bit_equal(embedded_engine: Engine, product: Image.Image) -> None:
    job = _embedded(product, sampler=Sampler.EULER_ANCESTRAL)
    first, second = (embedded_engine.generate(job)[0] for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()


def test_another_seed_gives_another_image(embedded_engine: Engine, product: Image.Image) -> None:
    first, second = embedded_engine.generate(_embedded(product, num_images=2))
    assert np.abs(_array(first) - _array(second)).mean() > 2


# --- law 1, end to end with the model ---


@pytest.mark.parametrize(
    "size",
    [(64, 64), (65, 127), (200, 96), (256, 256), (333, 77), (384, 250), (513, 321), (640, 640)],
)
def test_opaque_pixels_of_the_product_are_untouched(
    embedded_engine: Engine, product: Image.Image, size: tuple[int, int]
) -> None:
    job = _embedded(product, width_px=size[0], height_px=size[1])
    plan = embedded_engine.add(job)
    (image,) = _images(_drain(embedded_engine), "job")
    assert image.image.size == size
    foreground = np.asarray(prepare_canvas(plan).foreground)
    opaque = foreground[..., 3] == 255
    assert opaque.any()
    assert np.array_equal(np.asarray(image.image)[opaque], foreground[..., :3][opaque])
    assert np.asarray(image.image)[foreground[..., 3] == 0].std() > 0.5, "nothing was painted"


# --- the reference ---


def test_strength_zero_returns_the_reference_under_the_product(
    tiny_engine: Engine, job: GenerationJob
) -> None:
    reference = Image.effect_mandelbrot((128, 128), (-2, -1.5, 1, 1.5), 20).convert("RGB")
    (image,) = tiny_engine.generate(replace(job, reference=reference, strength=0.0))
    clear = np.asarray(job.foreground)[..., 3] == 0
    assert np.array_equal(np.asarray(image.image)[clear], np.asarray(reference)[clear])


@pytest.mark.parametrize("model_name", ["nine", "four"])
def test_strength_one_is_the_image_without_reference(
    tiny_engine: Engine, job: GenerationJob, model_name: str
) -> None:
    job = replace(job, model_name=model_name)
    reference = Image.new("RGB", (50, 50), "orange")
    (without,) = tiny_engine.generate(job)
    (ignored,) = tiny_engine.generate(replace(job, reference=reference, strength=1.0))
    assert without.image.tobytes() == ignored.image.tobytes()


# --- models ---


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
    events = _drain(tiny_engine)
    for name in names:
        _assert_same_image(_images(events, name)[0], alone[name])
    turns = [event.job_id for event in events if isinstance(event, StepDone)]
    assert set(turns[:6]) == set(names), "no group waits for another to finish"


def test_base_weights_are_never_written(tiny_registry: Registry, job: GenerationJob) -> None:
    engine = Engine(tiny_registry)
    before = _weights(engine, tiny_registry)
    engine.generate(replace(job, num_images=2, sampler=Sampler.EULER_ANCESTRAL))
    after = _weights(engine, tiny_registry)
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
    events = _drain(engine)
    (failure,) = [event for event in events if isinstance(event, ImageFailed)]
    assert isinstance(failure.error, WeightsUnavailable)
    assert "broken" in str(failure.error)
    assert "\n" not in str(failure.error)
    assert len(_images(events, "good")) == 1


# --- failures ---


def test_nan_ends_its_image_and_spares_the_others(
    tiny_engine: Engine, tiny_registry: Registry, job: GenerationJob
) -> None:
    reference = tiny_engine.generate(replace(job, num_images=3))
    unet = tiny_engine._models.get(tiny_registry.main_model("nine")).unet

    def poison(_module: Any, _inputs: Any, output: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        poisoned = output[0].clone()
        poisoned[2:4] = float("nan")  # both rows of the second of three guided lanes
        return (poisoned,)

    handle = unet.register_forward_hook(poison)
    tiny_engine.add(replace(job, num_images=3))
    events = _drain(tiny_engine)
    handle.remove()
    (failure,) = [event for event in events if isinstance(event, ImageFailed)]
    assert failure.image_index == 1
    assert isinstance(failure.error, NonFiniteResult)
    first, third = _images(events, "job")
    _assert_same_image(first, reference[0])
    _assert_same_image(third, reference[2])


def test_out_of_memory_halves_the_group_and_finishes(
    tiny_engine: Engine, tiny_registry: Registry, job: GenerationJob
) -> None:
    expected = tiny_engine.generate(replace(job, num_images=4))
    with _MemoryFor(tiny_engine, tiny_registry, rows=2):
        images = tiny_engine.generate(replace(job, num_images=4))
    for image, other in zip(images, expected, strict=True):
        _assert_same_image(image, other)


def test_an_image_that_does_not_fit_alone_fails_alone(
    tiny_engine: Engine, tiny_registry: Registry, job: GenerationJob
) -> None:
    tiny_engine.generate(job)
    with _MemoryFor(tiny_engine, tiny_registry, rows=1):
        with pytest.raises(GpuOutOfMemory):
            tiny_engine.generate(job)
        (image,) = tiny_engine.generate(replace(job, guidance_scale=1.0))
    assert image.image.size == job.foreground.size


def test_a_bad_job_is_refused_at_once_and_leaves_the_engine_idle(
    tiny_engine: Engine, job: GenerationJob
) -> None:
    with pytest.raises(UnknownModel):
        tiny_engine.add(replace(job, model_name="no such"))
    assert not tiny_engine.busy


def test_a_job_id_is_taken_once(tiny_engine: Engine, job: GenerationJob) -> None:
    tiny_engine.add(job)
    with pytest.raises(ValueError, match="added already"):
        tiny_engine.add(job)


# --- events and cancel ---


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


def test_both_passes_count_as_one_run(embedded_engine: Engine, product: Image.Image) -> None:
    seen: list[Event] = []
    job = _embedded(product, width_px=400, height_px=400)
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
    events = _drain(tiny_engine)
    assert all(event.job_id == "neighbour" for event in events)
    for image, other in zip(_images(events, "neighbour"), expected, strict=True):
        _assert_same_image(image, other)
    assert not tiny_engine.cancel("job")


def test_a_waiting_job_can_be_cancelled(tiny_engine: Engine, job: GenerationJob) -> None:
    tiny_engine.add(job)
    assert tiny_engine.cancel("job")
    assert not tiny_engine.busy
    assert tiny_engine.step() == []


# --- helpers ---


def _embedded(product: Image.Image, **changes: Any) -> GenerationJob:
    job = GenerationJob(
        job_id="job",
        model_name="PICPIK General",
        foreground=product,
        prompt="blue sky, white clouds",
        num_inference_steps=6,
    )
    return replace(job, **changes)


def _drain(engine: Engine) -> list[Event]:
    events: list[Event] = []
    while engine.busy:
        events += engine.step()
    return events


def _images(events: list[Event], job_id: str) -> list[GeneratedImage]:
    done = [e.image for e in events if isinstance(e, ImageDone) and e.job_id == job_id]
    return sorted(done, key=lambda image: image.image_index)


def _array(image: GeneratedImage) -> np.ndarray:
    return np.asarray(image.image).astype(int)


def _assert_same_image(image: GeneratedImage, other: GeneratedImage) -> None:
    """Law 3 in float32: no byte off by more than 1, 99.9 % identical."""
    difference = np.abs(_array(image) - _array(other))
    assert difference.max() <= 1
    assert (difference == 0).mean() >= 0.999


def _weights(engine: Engine, registry: Registry) -> dict[str, torch.Tensor]:
    checkpoint = engine._models.get(registry.main_model("nine"))
    modules = {"unet": checkpoint.unet, "text_encoder": checkpoint.text_encoder}
    return {
        f"{name}.{key}": tensor.clone()
        for name, module in modules.items()
        for key, tensor in module.state_dict().items()
    }


class _MemoryFor:
    """A device whose memory holds forwards of at most `rows` rows."""

    def __init__(self, engine: Engine, registry: Registry, rows: int) -> None:
        self._unet = engine._models.get(registry.main_model("nine")).unet
        self._rows = rows

    def __enter__(self) -> None:
        def refuse(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            if inputs[0].shape[0] > self._rows:
                raise torch.OutOfMemoryError("out of memory")

        self._handle = self._unet.register_forward_pre_hook(refuse)

    def __exit__(self, *_: object) -> None:
        self._handle.remove()
