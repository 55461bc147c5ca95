"""torch's default dtype stays as it is while images are in flight."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.default_dtype import loading, stepping
from engine.inpaint_pipeline import InpaintPipeline, load_pipeline
from engine.loaded_model import load_model
from engine.registry import Registry
from tests.engine.pipelines.tiny_pipelines import write_pipeline_registry, write_tiny_pipeline

CPU = torch.device("cpu")


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def build(began: threading.Event, seen: list[torch.dtype]) -> None:
    """What the libraries' loaders do."""
    with loading():
        began.set()
        torch.set_default_dtype(torch.bfloat16)
        seen.append(torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)


def test_a_loader_waits_for_the_step_and_the_next_step_for_the_loader() -> None:
    began, built, seen = threading.Event(), threading.Event(), []
    with stepping(), stepping():  # two engines step side by side
        loader = in_thread(lambda: (build(began, seen), built.set()))
        assert began.wait(10)
        assert not built.wait(0.2)
        assert torch.get_default_dtype() == torch.float32
        blocked = threading.Event()
        stepper = in_thread(lambda: (next_step(), blocked.set()))
        assert not blocked.wait(0.2), "a stream of steps must not keep the loader out"
    for thread in (loader, stepper):
        thread.join(10)
        assert not thread.is_alive()
    assert seen == [torch.bfloat16]
    assert torch.get_default_dtype() == torch.float32


def next_step() -> None:
    with stepping():
        assert torch.get_default_dtype() == torch.float32


def test_a_loader_that_fails_leaves_the_default_as_it_was() -> None:
    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.get_default_dtype() == torch.float32
    next_step()


def fail() -> None:
    with loading():
        torch.set_default_dtype(torch.float16)
        raise ZeroDivisionError


def test_other_threads_may_set_it_as_ever() -> None:
    with loading():
        thread = in_thread(lambda: torch.set_default_dtype(torch.float64))
        thread.join(10)
        assert torch.get_default_dtype() == torch.float64
    assert torch.get_default_dtype() == torch.float32


def test_checkpoints_are_loaded_without_touching_it(
    tiny_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = watched(monkeypatch)
    load_model(tiny_registry.main_model("four_kl"), device=CPU, dtype=torch.float16)
    assert set(changes) <= {torch.float32}


def test_pipelines_take_turns_and_load_what_they_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_pipeline(tmp_path / "sd3", "sd3")
    model = write_pipeline_registry(tmp_path, sd3={}).main_model("sd3")
    told = load_pipeline(model, device=CPU, dtype=torch.bfloat16)
    changes = watched(monkeypatch)
    loaded: list[object] = []
    with stepping():
        loader = in_thread(
            lambda: loaded.append(load_model(model, device=CPU, dtype=torch.bfloat16))
        )
        loader.join(1.0)
        assert set(changes) <= {torch.float32}
    loader.join(60)
    assert torch.bfloat16 in changes
    assert torch.get_default_dtype() == torch.float32
    (pipeline,) = loaded
    assert isinstance(pipeline, InpaintPipeline)
    for ours, theirs in zip(pipeline.modules, told.modules, strict=True):
        for (name, tensor), other in zip(
            ours.state_dict().items(), theirs.state_dict().values(), strict=True
        ):
            assert tensor.dtype == other.dtype, name
            assert torch.equal(tensor, other), name


def watched(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Every dtype that is made the default from here on."""
    changes: list[torch.dtype] = []
    original = torch._C._set_default_dtype

    def set_and_note(dtype: torch.dtype) -> None:
        changes.append(dtype)
        original(dtype)

    monkeypatch.setattr(torch._C, "_set_default_dtype", set_and_note)
    return changes
