"""Pipeline jobs in the engine's loop: steps, cancel, neighbours, failures, threads."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from engine.engine import Engine
from engine.errors import GpuOutOfMemory, NonFiniteResult, PipelineFailed
from engine.events import Event, ImageDone, ImageFailed, JobDone, StepDone
from engine.job import GenerationJob
from engine.registry import Registry, load_registry
from tests.engine.pipelines.forwards import Forwards, loaded
from tests.engine.runs import assert_same_image, drain, images
from tests.engine.tiny import EPSILON, write_tiny_model


def step_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "stepwise"]


def step_until(engine: Engine, kind: type[Event]) -> list[Event]:
    events: list[Event] = []
    while not any(isinstance(event, kind) for event in events):
        events += engine.step()
    return events


def test_a_step_of_the_engine_is_one_step_of_the_pipeline(
    engine: Engine, flux_job: GenerationJob
) -> None:
    with Forwards(engine, "flux") as forwards:
        engine.add(replace(flux_job, num_images=2))
        for image_index in range(2):
            for step in range(1, 7):
                assert engine.step() == [StepDone("job", image_index, step, 6)]
                assert forwards.count == 6 * image_index + step
            (done,) = engine.step()
            assert isinstance(done, ImageDone)
        assert engine.busy
        assert engine.step() == [JobDone("job")]
    assert not engine.busy
    assert step_threads() == []


def test_cancel_runs_no_further_step_and_leaves_no_thread(
    engine: Engine, flux_job: GenerationJob
) -> None:
    (expected,) = engine.generate(flux_job)
    with Forwards(engine, "flux") as forwards:
        engine.add(replace(flux_job, num_images=2))
        step_until(engine, StepDone)
        assert len(step_threads()) == 1
        assert engine.cancel("job")
        assert not engine.cancel("job")
        assert not engine.busy
        assert engine.step() == []
        assert forwards.count == 1
    assert step_threads() == []
    assert engine.generate(flux_job)[0].image.tobytes() == expected.image.tobytes()


def test_a_job_cancelled_before_its_first_step_leaves_no_thread(
    engine: Engine, flux_job: GenerationJob
) -> None:
    with Forwards(engine, "flux") as forwards:
        engine.add(flux_job)
        assert engine.cancel("job")
    assert forwards.count == 0
    assert step_threads() == []


def test_no_thread_survives_the_engine(registry: Registry, flux_job: GenerationJob) -> None:
    engine = Engine(registry)
    engine.add(flux_job)
    step_until(engine, StepDone)
    assert len(step_threads()) == 1
    del engine
    gc.collect()
    assert step_threads() == []


def test_pipeline_jobs_run_one_after_the_other(engine: Engine, flux_job: GenerationJob) -> None:
    names = {"one": "flux", "two": "sd3", "three": "flux"}
    jobs = {
        job_id: replace(flux_job, job_id=job_id, model_name=name, seed=len(job_id))
        for job_id, name in names.items()
    }
    alone = {job_id: engine.generate(job)[0] for job_id, job in jobs.items()}
    for job in jobs.values():
        engine.add(job)
    with pytest.raises(ValueError, match="added already"):
        engine.add(jobs["two"])
    events = drain(engine)
    for job_id, image in alone.items():
        assert images(events, job_id)[0].image.tobytes() == image.image.tobytes()
    turns = [event.job_id for event in events]
    assert turns == sorted(turns, key=turns.index), "none begins before the other has ended"


@pytest.fixture
def mixed_engine(pipelines_root: Path, tmp_path: Path) -> Engine:
    """With a checkpoint of the step loop beside a pipeline."""
    write_tiny_model(tmp_path / "nine", in_channels=9, scheduler=EPSILON)
    entries = [
        {"name": "nine", "path": "nine", "native_size_px": 512, "min_area_ratio": 0},
        {
            "name": "flux",
            "path": str(pipelines_root / "flux"),
            "native_size_px": 512,
            "min_area_ratio": 0,
        },
    ]
    models_file = tmp_path / "models.yaml"
    models_file.write_text(yaml.safe_dump({"default_model": "nine", "models": entries}))
    return Engine(load_registry(models_file))


def test_a_pipeline_job_and_a_job_of_lanes_run_side_by_side(
    mixed_engine: Engine, flux_job: GenerationJob
) -> None:
    engine = mixed_engine
    unet_job = replace(flux_job, job_id="lanes", model_name="nine", num_inference_steps=20)
    alone = engine.generate(unet_job)[0], engine.generate(flux_job)[0]
    engine.add(unet_job)
    engine.add(flux_job)
    events = drain(engine)
    assert_same_image(images(events, "lanes")[0], alone[0])
    assert images(events, "job")[0].image.tobytes() == alone[1].image.tobytes()
    turns = [event.job_id for event in events if isinstance(event, StepDone)]
    assert turns[2:12].count("job") >= 5, "none waits for the other"


def raising(error: Exception, at: Callable[[int], bool]) -> Callable[[int], None]:
    def disturb(count: int) -> None:
        if at(count):
            raise error

    return disturb


def failures(events: list[Event]) -> list[ImageFailed]:
    return [event for event in events if isinstance(event, ImageFailed)]


def test_a_failing_image_spares_the_others(engine: Engine, flux_job: GenerationJob) -> None:
    job = replace(flux_job, num_images=3)
    alone = engine.generate(job)
    error = ValueError("shapes of\nmany lines")
    with Forwards(engine, "flux", raising(error, lambda count: count == 6 + 3)):
        engine.add(job)
        events = drain(engine)
    (failed,) = failures(events)
    assert failed.image_index == 1
    assert isinstance(failed.error, PipelineFailed)
    assert str(failed.error) == "FluxInpaintPipeline: ValueError: shapes of"
    assert [image.image_index for image in images(events, "job")] == [0, 2]
    for image in images(events, "job"):
        assert image.image.tobytes() == alone[image.image_index].image.tobytes()
    assert events[-1] == JobDone("job")


def test_an_image_that_did_not_fit_is_tried_again(engine: Engine, flux_job: GenerationJob) -> None:
    (expected,) = engine.generate(flux_job)
    error = torch.OutOfMemoryError("out of memory")
    with Forwards(engine, "flux", raising(error, lambda count: count == 3)) as forwards:
        (image,) = engine.generate(flux_job)
    assert image.image.tobytes() == expected.image.tobytes()
    assert forwards.count == 3 + 6


def test_an_image_that_does_not_fit_beside_the_lanes_waits_for_their_end(
    mixed_engine: Engine, flux_job: GenerationJob
) -> None:
    engine = mixed_engine
    unet_job = replace(flux_job, job_id="lanes", model_name="nine", num_inference_steps=20)
    engine.generate(unet_job)
    (expected,) = engine.generate(flux_job)
    failed_at: list[int] = []

    def fill(count: int) -> None:
        if "lanes" in engine._jobs:
            failed_at.append(count)
            raise torch.OutOfMemoryError("out of memory")

    with Forwards(engine, "flux", fill) as forwards:
        engine.add(unet_job)
        engine.add(flux_job)
        events = drain(engine)
    assert failed_at == [1]
    assert forwards.count == 1 + 6
    assert not failures(events)
    assert images(events, "job")[0].image.tobytes() == expected.image.tobytes()


def test_an_image_that_fits_nowhere_fails(engine: Engine, flux_job: GenerationJob) -> None:
    error = torch.OutOfMemoryError("out of memory")
    with (
        Forwards(engine, "flux", raising(error, lambda _: True)) as forwards,
        pytest.raises(GpuOutOfMemory),
    ):
        engine.generate(flux_job)
    assert forwards.count == 2
    assert not engine.busy


def test_a_device_that_fails_is_no_matter_of_one_image(
    registry: Registry, flux_job: GenerationJob
) -> None:
    engine = Engine(registry)
    error = torch.AcceleratorError("illegal memory access")
    with Forwards(engine, "flux", raising(error, lambda _: True)):
        engine.add(flux_job)
        with pytest.raises(torch.AcceleratorError):
            drain(engine)
    assert step_threads() == []


def test_a_result_that_is_not_finite_fails(engine: Engine, flux_job: GenerationJob) -> None:
    decoder = loaded(engine, "flux").pipeline.vae.decoder
    hook = decoder.register_forward_hook(lambda *_: torch.full((1, 3, 80, 112), torch.nan))
    try:
        with pytest.raises(NonFiniteResult):
            engine.generate(flux_job)
    finally:
        hook.remove()


def test_a_pipeline_job_waits_for_its_model_to_be_loaded(
    registry: Registry, flux_job: GenerationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    engine = Engine(registry)
    load = engine._models._load

    def held_up(*args: object, **where: object) -> object:
        gate.wait(60)
        return load(*args, **where)

    monkeypatch.setattr(engine._models, "_load", held_up)
    engine.add(flux_job)
    assert engine.step() == engine.step() == []
    gate.set()
    assert len(images(drain(engine), "job")) == 1


def test_strength_0_needs_no_model(engine: Engine, flux_job: GenerationJob) -> None:
    reference = Image.new("RGB", (100, 72), "orange")
    job = replace(flux_job, strength=0.0, reference=reference)
    assert engine.add(job).passes == ()
    (done, end) = drain(engine)
    assert isinstance(done, ImageDone)
    assert end == JobDone("job")
