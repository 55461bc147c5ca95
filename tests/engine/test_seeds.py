"""Law 3: a seed is a promise, whatever shares the forward."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from engine.engine import Engine
from engine.job import Sampler
from engine.registry import Registry
from tests.engine.runs import array, assert_same_image, drain, embedded, images


@pytest.mark.parametrize("sampler", Sampler)
def test_image_i_of_a_batch_is_the_single_image_of_seed_plus_i(
    embedded_engine: Engine, product: Image.Image, sampler: Sampler
) -> None:
    job = embedded(product, sampler=sampler, num_images=3, seed=5)
    batch = embedded_engine.generate(job)
    for index, image in enumerate(batch):
        (single,) = embedded_engine.generate(replace(job, num_images=1, seed=5 + index))
        assert image.seed == single.seed == 5 + index
        assert_same_image(image, single)


def test_neighbours_of_other_jobs_do_not_change_an_image(
    embedded_engine: Engine, product: Image.Image
) -> None:
    job = embedded(product, sampler=Sampler.EULER_ANCESTRAL, seed=8)
    other = embedded(product, sampler=Sampler.DPMPP_2M, guidance_scale=1.0, seed=1)
    other = replace(other, job_id="other", prompt="night city", num_inference_steps=9)
    (alone,) = embedded_engine.generate(job)
    embedded_engine.add(other)
    embedded_engine.step()  # joins a lane that is under way
    embedded_engine.add(job)
    assert_same_image(images(drain(embedded_engine), "job")[0], alone)


def test_batch_invariant_makes_them_equal_to_the_byte(
    embedded_registry: Registry, product: Image.Image
) -> None:
    engine = Engine(embedded_registry, batch_invariant=True, max_lanes=3)
    job = embedded(product, sampler=Sampler.EULER_ANCESTRAL, num_images=3, seed=5)
    batch = engine.generate(job)
    for index, image in enumerate(batch):
        (single,) = engine.generate(replace(job, num_images=1, seed=5 + index))
        assert image.image.tobytes() == single.image.tobytes()


def test_the_same_job_repeated_is_bit_equal(embedded_engine: Engine, product: Image.Image) -> None:
    job = embedded(product, sampler=Sampler.EULER_ANCESTRAL)
    first, second = (embedded_engine.generate(job)[0] for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()


def test_a_seed_is_a_promise_over_both_passes(
    embedded_engine: Engine, product: Image.Image
) -> None:
    job = embedded(product, sampler=Sampler.EULER_ANCESTRAL, width_px=400, height_px=400, seed=3)
    batch = embedded_engine.generate(replace(job, num_images=2))
    assert len(embedded_engine.add(job).passes) == 2
    embedded_engine.cancel("job")
    for index, image in enumerate(batch):
        (single,) = embedded_engine.generate(replace(job, seed=3 + index))
        assert_same_image(image, single)


def test_another_seed_gives_another_image(embedded_engine: Engine, product: Image.Image) -> None:
    first, second = embedded_engine.generate(embedded(product, num_images=2))
    assert np.abs(array(first) - array(second)).mean() > 2
