"""A canvas far below the native area is painted larger and comes back at its own size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.engine import Engine
from engine.finish import to_canvas
from engine.job import GenerationJob
from engine.plan import GenerationPlan, plan_job
from engine.prepare import at_pass_size, padded_size, prepare_canvas
from engine.registry import Registry, load_registry
from tests.engine.conftest import REPOSITORY
from tests.engine.runs import array, embedded
from tests.engine.tiny import write_registry


@pytest.fixture(scope="module")
def registry(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    entry = {"min_area_ratio": 0.5, "native_size_px": 128}
    models = {name: entry | {"path": str(tiny_root / name)} for name in ("nine", "four")}
    return write_registry(tmp_path_factory.mktemp("small"), **models)


@pytest.fixture
def plan(registry: Registry, job: GenerationJob) -> GenerationPlan:
    return plan_job(replace(job, width_px=67, height_px=81), registry)


@pytest.mark.parametrize("name", ["nine", "four"])
def test_the_result_has_the_size_asked_and_the_untouched_product(
    registry: Registry, job: GenerationJob, name: str
) -> None:
    job = replace(job, model_name=name, width_px=67, height_px=81)
    (only,) = plan_job(job, registry).passes
    assert only.width_px * only.height_px == pytest.approx(128**2, rel=0.1)
    (image,) = Engine(registry).generate(job)
    assert image.image.size == (67, 81)
    foreground = np.asarray(prepare_canvas(plan_job(job, registry)).foreground)
    opaque = foreground[..., 3] == 255
    assert opaque.any()
    assert np.array_equal(array(image)[opaque], foreground[opaque][:, :3])


def test_the_model_sees_the_canvas_enlarged(plan: GenerationPlan) -> None:
    canvas = prepare_canvas(plan)
    (only,) = plan.passes
    foreground, _ = at_pass_size(plan, only, canvas)
    assert foreground.size == (only.width_px, only.height_px)
    assert only.width_px > padded_size(plan)[0] > plan.width_px


def test_what_is_painted_larger_comes_back_into_place(plan: GenerationPlan) -> None:
    canvas = replace(prepare_canvas(plan), reference=_gradient(plan.width_px, plan.height_px))
    _, painted = at_pass_size(plan, plan.passes[0], canvas)
    assert painted is not None
    back = np.asarray(to_canvas(painted, plan)).astype(int)
    assert canvas.reference is not None
    assert back.shape == (81, 67, 3)
    # The gradient has a step of a few levels a pixel, so a shift by half of one would show.
    difference = np.abs(back - np.asarray(canvas.reference))
    assert difference[2:-2, 2:-2].max() <= 2


def _gradient(width: int, height: int) -> Image.Image:
    across = np.linspace(0, 240, width)[None, :].repeat(height, axis=0)
    down = np.linspace(10, 250, height)[:, None].repeat(width, axis=1)
    return Image.fromarray(np.dstack([across, down, (across + down) / 2]).astype(np.uint8))


def test_the_embedded_model_paints_a_thumbnail_as_it_paints_at_its_own_size(
    product: Image.Image,
) -> None:
    """Painted as it is, a canvas of 8x8 latent cells shows a blur."""
    registry = load_registry(REPOSITORY / "models.yaml")
    engine = Engine(registry)
    prompt = "green grass, meadow, blue sky"
    small, native = (
        array(engine.generate(embedded(product, width_px=side, height_px=side, prompt=prompt))[0])
        for side in (64, 256)
    )
    reduced = Image.fromarray(native.astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.abs(small - np.asarray(reduced)).mean() < 6
