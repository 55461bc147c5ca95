"""The step loop goes on while a checkpoint is being loaded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.engine import Engine
from engine.errors import GpuOutOfMemory
from engine.events import Event, ImageFailed, JobDone, StepDone
from engine.job import GenerationJob
from engine.model_cache import ModelCache
from engine.registry import MainModel, Registry
from tests.engine.runs import assert_same_image, drain, images


class Slow:
    """Loads one model only after its gate opens."""

    def __init__(self, name: str) -> None:
        self.gate = threading.Event()
        self._name = name

    def __call__(self, model: MainModel, **where: Any) -> Checkpoint:
        if model.name == self._name:
            assert self.gate.wait(60)
        return load_checkpoint(model, **where)


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow("four")
    yield slow
    slow.gate.set()


@pytest.fixture
def engine(tiny_registry: Registry, slow: Slow) -> Engine:
    engine = Engine(tiny_registry)
    engine._models = ModelCache(device=engine.device, dtype=torch.float32, load=slow)
    return engine


def test_images_in_flight_and_later_jobs_go_on_while_a_model_loads(
    engine: Engine, slow: Slow, job: GenerationJob
) -> None:
    expected = engine.generate(replace(job, seed=1))[0]
    engine.add(replace(job, job_id="first"))
    engine.step()
    engine.add(replace(job, job_id="loading", model_name="four"))
    engine.add(replace(job, job_id="later", seed=1))
    events: list[Event] = []
    while JobDone("later") not in events:
        events += engine.step()
    assert JobDone("first") in events
    assert_same_image(images(events, "later")[0], expected)
    assert not any(event.job_id == "loading" for event in events)
    slow.gate.set()
    events = drain(engine)
    assert len(images(events, "loading")) == 1


def test_a_step_that_only_waits_returns_soon(
    engine: Engine, slow: Slow, job: GenerationJob
) -> None:
    engine.add(replace(job, model_name="four"))
    started = time.monotonic()
    for _ in range(3):
        assert engine.step() == []
    assert engine.busy
    assert time.monotonic() - started < 10
    assert engine.cancel("job")
    assert not engine.busy
    slow.gate.set()
    assert engine.generate(job)[0].image.size == job.foreground.size


def test_a_job_that_needs_no_model_does_not_wait_for_one(
    engine: Engine, job: GenerationJob
) -> None:
    reference = Image.new("RGB", (50, 50), "orange")
    engine.add(replace(job, job_id="loading", model_name="four"))
    engine.add(
        replace(job, job_id="returned", model_name="four", reference=reference, strength=0.0)
    )
    events: list[Event] = []
    while JobDone("returned") not in events:
        events += engine.step()
    assert len(images(events, "returned")) == 1


def cache_of_another_device(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> ModelCache:
    """With room for one model; its copies are made on the CPU so that they can run."""
    cache = ModelCache(
        device=torch.device("meta"), dtype=torch.float32, device_bytes=1, host_bytes=10**9
    )
    on_cpu = {
        name: load_checkpoint(model, device=torch.device("cpu"), dtype=torch.float32)
        for name, model in registry.models.items()
    }
    monkeypatch.setattr(cache, "_copy", lambda checkpoint: on_cpu[checkpoint.name])
    return cache


def test_nobody_overtakes_a_model_that_waits_for_room(
    tiny_registry: Registry, job: GenerationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a stream of jobs for one model would keep another one out for ever."""
    engine = Engine(tiny_registry)
    full = cache_of_another_device(tiny_registry, monkeypatch)
    for name in ("four", "nine"):
        full.get(tiny_registry.main_model(name))
    engine._models = full
    engine.add(replace(job, job_id="first"))
    while not engine._jobs:
        engine.step()
    engine.add(replace(job, job_id="other", model_name="four"))
    engine.add(replace(job, job_id="same"))
    turns = [event.job_id for event in drain(engine) if isinstance(event, StepDone)]
    assert list(dict.fromkeys(turns)) == ["first", "other", "same"]


def test_waiting_jobs_of_two_models_do_not_push_each_others_out(
    tiny_registry: Registry, job: GenerationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for one model and copies that take no time at all."""
    engine = Engine(tiny_registry)
    cache = cache_of_another_device(tiny_registry, monkeypatch)
    for name in ("nine", "four"):
        cache.get(tiny_registry.main_model(name))
    monkeypatch.setattr("engine.model_cache.run_in_background", at_once)
    engine._models = cache
    for name in ("nine", "four"):
        engine.add(replace(job, job_id=name, model_name=name))
    events: list[Event] = []
    for _ in range(200):
        engine.wait(timeout_s=0.1)
        events += engine.step()
    assert [JobDone("nine") in events, JobDone("four") in events] == [True, True]


def at_once(work: Callable[[], Checkpoint]) -> Future[Checkpoint]:
    future: Future[Checkpoint] = Future()
    future.set_result(work())
    return future


def test_memory_of_idle_models_goes_to_the_job_that_needs_it(
    tiny_registry: Registry, job: GenerationJob
) -> None:
    engine = Engine(tiny_registry)
    expected = engine.generate(job)[0]
    engine.generate(replace(job, model_name="four"))
    nine = engine._models.get(tiny_registry.main_model("nine"))

    def refuse(_module: Any, _inputs: Any) -> None:
        if engine._models._device.get("four") is not None:
            raise torch.OutOfMemoryError("out of memory")

    handles = [
        each.register_forward_pre_hook(refuse) for each in (nine.unet, nine.text_encoders[0])
    ]
    (image,) = engine.generate(job)
    for handle in handles:
        handle.remove()
    assert_same_image(image, expected)


def test_a_model_that_finds_no_memory_waits_for_the_images_in_flight(
    tiny_registry: Registry, job: GenerationJob
) -> None:
    engine = Engine(tiny_registry)

    def load(model: MainModel, **where: Any) -> Checkpoint:
        if model.name == "four" and engine._jobs:
            raise GpuOutOfMemory("four does not fit")
        return load_checkpoint(model, **where)

    engine._models = ModelCache(device=engine.device, dtype=torch.float32, load=load)
    engine.generate(job)
    engine.add(replace(job, job_id="first"))
    engine.step()
    engine.add(replace(job, job_id="other", model_name="four"))
    events = drain(engine)
    assert not any(isinstance(event, ImageFailed) for event in events)
    assert events.index(JobDone("first")) < events.index(JobDone("other"))
