"""A sweep paints every point as its job alone would be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from engine.engine import Engine
from engine.errors import EngineError, JobError
from engine.job import GenerationJob, Sampler
from engine.registry import Registry, load_registry
from engine.sweep import Axis, plan_sweep
from engine.sweep_run import PointDone, PointFailed, PointStep, SweepEvent, SweepResult, run_points
from tests.engine.calls import counted_calls
from tests.engine.lora_files import write_unet_lora
from tests.engine.runs import assert_same_image

SAMPLERS = Axis("sampler", (Sampler.EULER_ANCESTRAL, Sampler.DPMPP_2M))
ROWS_OF_A_POINT = 2  # guided
STEPS = Axis("num_inference_steps", (9, 6, 7))


@pytest.fixture
def small_job(job: GenerationJob, product: Image.Image) -> GenerationJob:
    return replace(job, foreground=product.resize((64, 64)))


def painted(results: Iterator[SweepResult]) -> list[PointDone]:
    done = list(results)
    assert all(isinstance(each, PointDone) for each in done)
    return done  # type: ignore[return-value]


@pytest.mark.parametrize("batch_invariant", [False, True])
def test_each_point_equals_its_job_alone(
    tiny_registry: Registry, small_job: GenerationJob, batch_invariant: bool
) -> None:
    engine = Engine(tiny_registry, batch_invariant=batch_invariant, max_lanes=4)
    for done in painted(engine.sweep(small_job, [SAMPLERS, Axis("seed", (5, 3))])):
        (alone,) = engine.generate(done.point.job)
        if batch_invariant:
            assert done.image.image.tobytes() == alone.image.tobytes()
        assert_same_image(done.image, alone)
        assert done.image.parameters == alone.parameters


def test_weights_of_a_lora_share_forwards_and_equal_their_jobs_alone(
    tiny_root: Path, small_job: GenerationJob, tmp_path: Path
) -> None:
    write_unet_lora(tmp_path / "style.safetensors", tiny_root / "nine", rank=2, seed=1)
    models = tmp_path / "models.yaml"
    models.write_text(
        "default_model: nine\n"
        f"models: [{{name: nine, path: {tiny_root / 'nine'}, family: sd1, native_size_px: 64}}]\n"
        "sub_models: [{name: style, kind: lora, path: style.safetensors}]\n"
    )
    engine = Engine(load_registry(models))
    with counted_calls() as calls:
        done = painted(engine.sweep(small_job, [Axis("lora:style", (-1.0, 0, 0.5))]))
    assert max(calls.unet) > ROWS_OF_A_POINT
    assert len({each.image.image.tobytes() for each in done}) == 3
    for each in done:
        assert_same_image(each.image, engine.generate(each.point.job)[0])


def test_points_share_forwards_and_come_in_order(
    tiny_engine: Engine, small_job: GenerationJob
) -> None:
    steps: list[SweepEvent] = []
    with counted_calls() as calls:
        done = painted(tiny_engine.sweep(small_job, [SAMPLERS, STEPS], on_event=steps.append))
    assert [each.point.index for each in done] == list(range(6))
    assert max(calls.unet) > ROWS_OF_A_POINT
    assert sum(isinstance(event, PointStep) for event in steps) == 2 * (9 + 6 + 7)
    assert all(each.seconds > 0 for each in done)
    assert not tiny_engine.busy


def test_points_of_one_checkpoint_come_together(
    tiny_engine: Engine, small_job: GenerationJob
) -> None:
    axes = [Axis("seed", (1, 2)), Axis("model_name", ("four", "nine"))]
    done = painted(tiny_engine.sweep(small_job, axes))
    assert [each.point.job.model_name for each in done] == ["four", "four", "nine", "nine"]
    assert [each.point.index for each in done] == [0, 2, 1, 3]


def test_no_more_are_in_flight_than_asked(tiny_engine: Engine, small_job: GenerationJob) -> None:
    """The first is the slowest: those that wait for their turn behind it count, too."""
    open_points: set[int] = set()
    most = 0

    def watch(event: SweepEvent) -> None:
        nonlocal most
        if isinstance(event, PointStep):
            open_points.add(event.point.index)
        else:
            open_points.discard(event.point.index)
        most = max(most, len(open_points))

    axes = [Axis("num_inference_steps", (12, 6, 7, 8))]
    done = painted(tiny_engine.sweep(small_job, axes, max_in_flight=2, on_event=watch))
    assert [each.point.index for each in done] == [0, 1, 2, 3]
    assert most == 2


def test_without_order_a_point_is_handed_on_as_it_ends(
    tiny_engine: Engine, small_job: GenerationJob
) -> None:
    plan = plan_sweep(small_job, [Axis("num_inference_steps", (12, 6))], tiny_engine.registry)
    ends = [e for e in run_points(tiny_engine, plan.points) if isinstance(e, PointDone)]
    assert [each.point.index for each in ends] == [1, 0]


def test_a_sweep_that_is_left_leaves_the_engine_idle(
    tiny_engine: Engine, small_job: GenerationJob
) -> None:
    results = tiny_engine.sweep(small_job, [Axis("num_inference_steps", (6, 9))])
    next(results)
    assert tiny_engine.busy
    results.close()
    assert not tiny_engine.busy


def test_a_bad_value_is_refused_before_anything_runs(
    tiny_engine: Engine, small_job: GenerationJob
) -> None:
    with counted_calls() as calls, pytest.raises(JobError, match="axis num_inference_steps: 101: "):
        tiny_engine.sweep(small_job, [Axis("num_inference_steps", (6, 101))])
    assert calls.unet == []
    assert not tiny_engine.busy


def test_at_least_one_point_must_be_in_flight(
    tiny_engine: Engine, small_job: GenerationJob
) -> None:
    with pytest.raises(ValueError, match="max_in_flight is 0"):
        tiny_engine.sweep(small_job, [STEPS], max_in_flight=0)


def test_a_busy_engine_is_refused(tiny_engine: Engine, small_job: GenerationJob) -> None:
    tiny_engine.add(small_job)
    with pytest.raises(RuntimeError, match="idle"):
        tiny_engine.sweep(small_job, [STEPS])
    assert tiny_engine.cancel(small_job.job_id)


def test_a_point_that_fails_harms_no_other(
    tiny_engine: Engine, small_job: GenerationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that vanishes while the sweep runs."""
    add = tiny_engine.add

    def refusing(job: GenerationJob):
        if job.num_inference_steps == 6:
            raise EngineError("the file is gone")
        return add(job)

    monkeypatch.setattr(tiny_engine, "add", refusing)
    results = list(tiny_engine.sweep(small_job, [STEPS]))
    kinds = [type(each) for each in results]
    assert kinds == [PointDone, PointFailed, PointDone]


def test_a_sweep_of_which_no_point_can_begin_ends(
    tiny_engine: Engine, small_job: GenerationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(_job: GenerationJob):
        raise EngineError("the file is gone")

    monkeypatch.setattr(tiny_engine, "add", refusing)
    results = list(tiny_engine.sweep(small_job, [STEPS], max_in_flight=1))
    assert [type(each) for each in results] == [PointFailed] * 3
