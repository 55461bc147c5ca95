"""What goes wrong ends its own image or job and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file

from engine.engine import Engine
from engine.errors import GpuOutOfMemory, NonFiniteResult, UnknownModel, WeightsUnavailable
from engine.events import ImageFailed, JobDone, StepDone
from engine.job import GenerationJob
from engine.registry import Registry
from tests.engine.runs import array, assert_same_image, drain, images
from tests.engine.tiny import EPSILON, write_registry, write_tiny_model


def test_nan_ends_its_image_and_spares_the_others(
    tiny_engine: Engine, tiny_registry: Registry, job: GenerationJob
) -> None:
    reference = tiny_engine.generate(replace(job, num_images=3))
    unet = tiny_engine._models.get(tiny_registry.main_model("nine")).unet

    def poison(_module: Any, _inputs: Any, output: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        poisoned = output[0].clone()
        poisoned[[1, 4]] = float("nan")  # both rows of the second of three guided lanes
        return (poisoned,)

    handle = unet.register_forward_hook(poison)
    tiny_engine.add(replace(job, num_images=3))
    events = drain(tiny_engine)
    handle.remove()
    (failure,) = [event for event in events if isinstance(event, ImageFailed)]
    assert failure.image_index == 1
    assert isinstance(failure.error, NonFiniteResult)
    first, third = images(events, "job")
    assert_same_image(first, reference[0])
    assert_same_image(third, reference[2])


def test_what_overflows_in_a_narrow_type_is_made_in_float32(
    tiny_registry: Registry, job: GenerationJob
) -> None:
    (expected,) = Engine(tiny_registry).generate(job)
    engine = Engine(tiny_registry, dtype=torch.bfloat16)
    unet = engine._models.get(tiny_registry.main_model("nine")).unet

    def overflow(_module: Any, _inputs: Any, output: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        poisoned = output[0].clone()
        poisoned[:1] = float("inf")
        return (poisoned,)

    handle = unet.register_forward_hook(overflow)
    engine.add(job)
    while not any(isinstance(event, StepDone) for event in engine.step()):
        engine.wait()
    handle.remove()
    events = drain(engine)
    assert not any(isinstance(event, ImageFailed) for event in events)
    difference = np.abs(array(images(events, "job")[0]) - array(expected))
    assert difference.max() <= 2, "the weights alone were rounded"
    assert {each.dtype for each in unet.parameters()} == {torch.bfloat16}


def test_out_of_memory_halves_the_group_and_finishes(
    tiny_engine: Engine, tiny_registry: Registry, job: GenerationJob
) -> None:
    expected = tiny_engine.generate(replace(job, num_images=4))
    with _MemoryFor(tiny_engine, tiny_registry, rows=2):
        images = tiny_engine.generate(replace(job, num_images=4))
    for image, other in zip(images, expected, strict=True):
        assert_same_image(image, other)


def test_an_image_that_does_not_fit_alone_fails_alone(
    tiny_engine: Engine, tiny_registry: Registry, job: GenerationJob
) -> None:
    tiny_engine.generate(job)
    with _MemoryFor(tiny_engine, tiny_registry, rows=1):
        with pytest.raises(GpuOutOfMemory):
            tiny_engine.generate(job)
        (image,) = tiny_engine.generate(replace(job, guidance_scale=1.0))
    assert image.image.size == job.foreground.size


def test_a_job_that_finds_no_memory_waits_for_its_neighbour(
    tiny_engine: Engine, tiny_registry: Registry, job: GenerationJob
) -> None:
    expected = tiny_engine.generate(job)[0]
    tiny_engine.encodings.clear()
    tiny_engine.add(replace(job, job_id="neighbour"))
    while not any(isinstance(event, StepDone) for event in tiny_engine.step()):
        tiny_engine.wait()
    tiny_engine.encodings.clear()
    tiny_engine.add(job)
    text_encoder = tiny_engine._models.get(tiny_registry.main_model("nine")).text_encoders[0]

    def refuse(_module: Any, _inputs: Any) -> None:
        if "neighbour" in tiny_engine._jobs:
            raise torch.OutOfMemoryError("out of memory")

    handle = text_encoder.register_forward_pre_hook(refuse)
    events = drain(tiny_engine)
    handle.remove()
    assert not any(isinstance(event, ImageFailed) for event in events)
    assert_same_image(images(events, "job")[0], expected)
    assert events.index(JobDone("neighbour")) < events.index(JobDone("job"))


def test_a_shared_vae_that_does_not_fit_is_named(tmp_path: Path, job: GenerationJob) -> None:
    write_tiny_model(tmp_path / "nine", in_channels=9, scheduler=EPSILON)
    AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    ).save_pretrained(tmp_path / "small")
    engine = Engine(write_registry(tmp_path, nine={"shared_vae": "small"}))
    with pytest.raises(WeightsUnavailable, match=r"small/.*factor 4"):
        engine.generate(job)


def test_a_missing_weight_is_named_and_never_made_up(tmp_path: Path, job: GenerationJob) -> None:
    write_tiny_model(tmp_path / "nine", in_channels=9, scheduler=EPSILON)
    file = tmp_path / "nine" / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    lost = next(name for name in weights if name.endswith("mlp.fc1.weight"))
    del weights[lost]
    save_file(weights, file, metadata={"format": "pt"})
    engine = Engine(write_registry(tmp_path, nine={}))
    with pytest.raises(WeightsUnavailable, match=r"text_encoder: .*mlp\.fc1\.weight"):
        engine.generate(job)


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
