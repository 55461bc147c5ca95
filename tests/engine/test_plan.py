"""Planning: every size, step and seed is resolved, and bad numbers are refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from engine.errors import JobError
from engine.job import AdapterWeight, GenerationJob, Sampler
from engine.plan import default_canvas, plan_job
from engine.registry import Registry

FOREGROUND = Image.new("RGBA", (200, 100))
REFERENCE = Image.new("RGB", (30, 30))
JOB = GenerationJob(job_id="j", model_name="PICPIK General", foreground=FOREGROUND)


def test_absent_settings_are_the_models_defaults(embedded_registry: Registry) -> None:
    plan = plan_job(JOB, embedded_registry)
    assert (plan.width_px, plan.height_px) == (200, 100)
    assert (plan.num_inference_steps, plan.sampler) == (10, Sampler.EULER)
    assert plan.guidance_scale == plan.model.guidance_scale


def test_any_canvas_is_rendered_at_the_next_multiple(embedded_registry: Registry) -> None:
    plan = plan_job(replace(JOB, width_px=201, height_px=255), embedded_registry)
    assert (plan.width_px, plan.height_px) == (201, 255)
    assert [(each.width_px, each.height_px) for each in plan.passes] == [(208, 256)]


def test_a_canvas_far_above_the_native_area_takes_two_passes(embedded_registry: Registry) -> None:
    plan = plan_job(replace(JOB, width_px=1280, height_px=720), embedded_registry)
    native, full = plan.passes
    assert (full.width_px, full.height_px) == (1280, 720)
    assert native.schedule is None
    assert full.schedule is not None
    assert 0.8 < native.width_px * native.height_px / 256**2 < 1.25
    assert native.width_px / native.height_px == pytest.approx(1280 / 720, rel=0.05)
    assert native.width_px % 8 == native.height_px % 8 == 0
    assert plan.total_steps == native.num_steps + full.num_steps


def test_twice_the_native_area_still_takes_one_pass(embedded_registry: Registry) -> None:
    plan = plan_job(replace(JOB, width_px=512, height_px=256), embedded_registry)
    assert len(plan.passes) == 1


def test_a_weak_repaint_of_the_reference_takes_one_pass(embedded_registry: Registry) -> None:
    job = replace(JOB, reference=REFERENCE, strength=0.2, width_px=1024, height_px=1024)
    (only,) = plan_job(job, embedded_registry).passes
    assert only.schedule is not None
    assert only.num_steps == 10


def test_strength_zero_needs_no_pass(embedded_registry: Registry) -> None:
    job = replace(JOB, reference=REFERENCE, strength=0.0)
    assert plan_job(job, embedded_registry).passes == ()


def test_strength_one_ignores_the_reference(embedded_registry: Registry) -> None:
    job = replace(JOB, reference=REFERENCE, strength=1.0)
    assert not plan_job(job, embedded_registry).use_reference


def test_seeds_count_up_and_wrap(embedded_registry: Registry) -> None:
    plan = plan_job(replace(JOB, seed=2**31 - 2, num_images=4), embedded_registry)
    assert plan.seeds == (2**31 - 2, 2**31 - 1, 0, 1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model_name": "no such"}, "model_name"),
        ({"num_inference_steps": 5}, "num_inference_steps"),
        ({"num_inference_steps": 101}, "num_inference_steps"),
        ({"guidance_scale": 0.9}, "guidance_scale"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"num_images": 0}, "num_images"),
        ({"num_images": 17}, "num_images"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"width_px": 63, "height_px": 64}, "width_px"),
        ({"width_px": 64, "height_px": 2561}, "height_px"),
        ({"width_px": 64}, "height_px"),
        ({"clip_skip": 4}, "clip_skip"),  # the embedded text encoder has three layers
        ({"strength": 0.5}, "strength"),
        ({"reference": REFERENCE, "strength": 1.5}, "strength"),
        ({"adapters": (AdapterWeight("no such"),)}, "adapters"),
        ({"prompt": "sky <lora:style:1>"}, "prompt"),
        ({"negative_prompt": "(sea:11)"}, "negative_prompt"),
        ({"foreground": REFERENCE}, "foreground"),
        ({"reference": FOREGROUND, "strength": 0.5}, "reference"),
    ],
)
def test_a_bad_job_is_refused_by_field(
    embedded_registry: Registry, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(JobError) as caught:
        plan_job(replace(JOB, **change), embedded_registry)
    assert caught.value.field == field


def test_jobs_of_one_latent_size_are_compatible(embedded_registry: Registry) -> None:
    def key(width_px: int, height_px: int, **more: Any) -> str:
        job = replace(JOB, width_px=width_px, height_px=height_px, **more)
        return plan_job(job, embedded_registry).compat_key

    assert key(250, 250) == key(256, 256, num_inference_steps=50, seed=9)
    assert key(256, 256) != key(264, 256)


@pytest.mark.parametrize(
    ("size", "canvas"),
    [
        ((600, 400), (600, 400)),
        ((64, 2560), (64, 2560)),
        ((5120, 2560), (2560, 1280)),
        ((32, 48), (64, 96)),
        ((10000, 10), (2560, 64)),
        ((10, 1000), (64, 2560)),
        ((1, 1), (64, 64)),
    ],
)
def test_default_canvas_keeps_the_ratio_where_it_can(
    size: tuple[int, int], canvas: tuple[int, int]
) -> None:
    assert default_canvas(*size) == canvas
