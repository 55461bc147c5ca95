"""Axes over a job, and what they may be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from engine.errors import JobError, UnknownLora, UnknownModel
from engine.job import AdapterWeight, GenerationJob, ResizeMode, Sampler
from engine.registry import Registry
from engine.sweep import MAX_POINTS, Axis, plan_sweep


def test_every_combination_is_a_point_and_the_last_axis_runs_fastest(
    job: GenerationJob, tiny_registry: Registry
) -> None:
    axes = [Axis("num_inference_steps", (6, 8)), Axis("seed", (3, 1, 2))]
    plan = plan_sweep(job, axes, tiny_registry)
    jobs = [point.job for point in plan.points]
    assert [(each.num_inference_steps, each.seed) for each in jobs] == [
        (6, 3), (6, 1), (6, 2), (8, 3), (8, 1), (8, 2),
    ]  # fmt: skip
    assert [point.index for point in plan.points] == list(range(6))
    assert plan.labels(plan.points[4]) == ("8", "1")
    assert len({each.job_id for each in jobs}) == 6
    assert plan.total_steps == 3 * 6 + 3 * 8


@pytest.mark.parametrize(
    ("axis", "changes"),
    [
        (Axis("guidance_scale", (2.5,)), {"guidance_scale": 2.5}),
        (Axis("sampler", (Sampler.HEUN,)), {"sampler": Sampler.HEUN}),
        (Axis("strength", (0.25,)), {"strength": 0.25}),
        (Axis("deep_fusion", (True,)), {"deep_fusion": True}),
        (Axis("model_name", ("four",)), {"model_name": "four"}),
        (
            Axis("resize_mode", (ResizeMode.JUST_RESIZE,)),
            {
                "foreground_resize_mode": ResizeMode.JUST_RESIZE,
                "reference_resize_mode": ResizeMode.JUST_RESIZE,
            },
        ),
    ],
)
def test_a_point_is_the_job_with_the_axis_value(
    job: GenerationJob, tiny_registry: Registry, axis: Axis, changes: dict[str, Any]
) -> None:
    base = replace(job, reference=Image.new("RGB", (64, 64)), strength=0.5)
    (point,) = plan_sweep(base, [axis], tiny_registry).points
    assert point.job == replace(base, job_id=point.job.job_id, **changes)


def test_a_lora_axis_sets_the_weight_in_its_place_or_adds_the_lora(job: GenerationJob) -> None:
    a, b, c = (AdapterWeight(name, 1.0) for name in "abc")
    axis = Axis("lora:b", (0.5,))
    given = replace(job, adapters=(a, b, c))
    assert axis.applied(given, 0).adapters == (a, AdapterWeight("b", 0.5), c)
    given = replace(job, adapters=(a, c))
    assert axis.applied(given, 0).adapters == (a, c, AdapterWeight("b", 0.5))


@pytest.mark.parametrize(
    ("axis", "texts"),
    [
        (Axis("num_inference_steps", (6, 5)), ["num_inference_steps", "5", "6..100"]),
        (Axis("num_inference_steps", (6, 5), title="Steps"), ["axis Steps: 5: "]),
        (Axis("guidance_scale", (float("nan"),)), ["axis guidance_scale: nan: "]),
        (
            Axis("strength", (1.0, 0.5), "ReferStrength", ("0", "0.5")),
            ["axis ReferStrength: 0.5: "],
        ),
        (Axis("seed", (-1,)), ["axis seed: -1: "]),
        (Axis("deep_fusion", (False, True)), ["axis deep_fusion: on: "]),
    ],
)
def test_a_value_that_cannot_be_done_is_told_with_its_axis(
    job: GenerationJob, tiny_registry: Registry, axis: Axis, texts: list[str]
) -> None:
    with pytest.raises(JobError) as refused:
        plan_sweep(job, [axis, Axis("seed" if axis.setting != "seed" else "sampler",
                                    (0,) if axis.setting != "seed" else (Sampler.LMS,))],
                   tiny_registry)  # fmt: skip
    for text in texts:
        assert text in str(refused.value)


def test_an_unknown_lora_or_model_keeps_its_kind_of_error(
    job: GenerationJob, tiny_registry: Registry
) -> None:
    with pytest.raises(UnknownLora, match=r"axis lora:nobody: 1: .*'nobody'"):
        plan_sweep(job, [Axis("lora:nobody", (1,))], tiny_registry)
    with pytest.raises(UnknownModel, match="axis model_name: nobody's: "):
        plan_sweep(job, [Axis("model_name", ("nine", "nobody's"))], tiny_registry)


def test_what_is_wrong_without_any_axis_is_told_without_one(
    job: GenerationJob, tiny_registry: Registry
) -> None:
    with pytest.raises(JobError, match=r"^clip_skip is 13"):
        plan_sweep(replace(job, clip_skip=13), [Axis("seed", (1, 2))], tiny_registry)
    with pytest.raises(JobError, match="one image a point"):
        plan_sweep(replace(job, num_images=2), [Axis("seed", (1, 2))], tiny_registry)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([], "1 to 3 axes"),
        ([Axis(name, (1,)) for name in ("seed", "lora:a", "lora:b", "lora:c")], "1 to 3 axes"),
        ([Axis("prompt", ("a", "b"))], "prompt: cannot be swept"),
        ([Axis("lora:", (1,))], "names no LoRA"),
        ([Axis("seed", ())], "seed: has no values"),
        ([Axis("seed", (1, 2, 1))], "seed: 1: stands twice"),
        ([Axis("seed", (1, 2), labels=("one",))], "a label for each"),
        ([Axis("num_inference_steps", (6.5,))], "num_inference_steps: 6.5: not of type int"),
        ([Axis("seed", (True,))], "seed: on: not of type int"),
        ([Axis("sampler", ("euler",))], "sampler: euler: not of type Sampler"),
        ([Axis("deep_fusion", (1,))], "deep_fusion: 1: not of type bool"),
        ([Axis("seed", (1,)), Axis("seed", (2,))], "two axes set seed"),
        ([Axis("lora:a", (1,)), Axis("lora:a", (2,))], "two axes set lora:a"),
        (
            [
                Axis("resize_mode", (ResizeMode.JUST_RESIZE,)),
                Axis("reference_resize_mode", (ResizeMode.CROP_AND_RESIZE,)),
            ],
            "two axes set reference_resize_mode",
        ),
        ([Axis("seed", tuple(range(MAX_POINTS + 1)))], f"{MAX_POINTS + 1} points"),
    ],
)
def test_axes_that_make_no_sweep_are_refused(
    job: GenerationJob, tiny_registry: Registry, axes: list[Axis], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan_sweep(job, axes, tiny_registry)
