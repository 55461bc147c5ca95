"""The route of a large canvas takes a fraction of the work of painting it whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from engine.job import GenerationJob
from engine.plan import plan_job
from engine.registry import MainModel, Registry
from scripts.benchmark.route_flops import CountedModel, native_route, our_route

JOB = GenerationJob(
    job_id="job",
    model_name="nine",
    foreground=Image.new("RGBA", (64, 64)),
    width_px=2560,
    height_px=2560,
)


@pytest.fixture(scope="module")
def sd15() -> CountedModel:
    return CountedModel()


@pytest.mark.parametrize("num_steps", [10, 20])
def test_2560_pixels_a_side_take_a_quarter_of_the_native_route(
    tiny_registry: Registry, sd15: CountedModel, num_steps: int
) -> None:
    job = replace(JOB, num_inference_steps=num_steps)
    plan = plan_job(job, tiny_registry)
    routed, native = our_route(sd15, plan), native_route(sd15, plan)
    whole = plan_job(job, _without_second_pass(tiny_registry))
    assert [each.tile_px for each in routed.passes] == [None, (640, 640)]
    assert native.passes == whole.passes, "what the engine itself would do without the route"
    assert routed.unet_flops / native.unet_flops < 0.2
    assert routed.flops / native.flops < 0.25


def test_guidance_and_tiles_are_counted(tiny_registry: Registry, sd15: CountedModel) -> None:
    size = {"width_px": 512, "height_px": 512, "num_inference_steps": 6}
    guided, unguided = (
        our_route(sd15, plan_job(replace(JOB, **size, guidance_scale=scale), tiny_registry))
        for scale in (7.5, 1.0)
    )
    assert guided.unet_flops == 2 * unguided.unet_flops
    # 0.68 TFLOP: what diffusers' users know as some 340 GMACs a row of 64x64.
    assert unguided.unet_flops / 6 == pytest.approx(0.68e12, rel=0.2)


def _without_second_pass(registry: Registry) -> Registry:
    models: dict[str, MainModel] = {
        name: model.model_copy(update={"two_pass_area_ratio": 1000.0})
        for name, model in registry.models.items()
    }
    return Registry(models, registry.default_model)
