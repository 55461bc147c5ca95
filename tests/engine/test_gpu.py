"""The same promises on a CUDA device, in float16 and float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from engine.engine import Engine
from engine.job import Sampler
from engine.registry import Registry
from tests.engine.runs import assert_same_image, embedded

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("sampler", Sampler)
def test_every_sampler_paints_around_the_untouched_product(
    embedded_registry: Registry, product: Image.Image, sampler: Sampler, strength: float
) -> None:
    engine = Engine(embedded_registry, device="cuda")
    reference = Image.new("RGB", (50, 50), "skyblue")
    job = embedded(product, sampler=sampler, reference=reference, strength=strength)
    (image,) = engine.generate(job)
    foreground, pixels = np.asarray(product), np.asarray(image.image)
    opaque = foreground[..., 3] == 255
    assert np.array_equal(pixels[opaque], foreground[..., :3][opaque])
    assert pixels[foreground[..., 3] == 0].std() > 0.5


def test_batch_invariant_holds_in_float16(
    embedded_registry: Registry, product: Image.Image
) -> None:
    engine = Engine(embedded_registry, device="cuda", batch_invariant=True, max_lanes=3)
    job = embedded(product, sampler=Sampler.EULER_ANCESTRAL, num_images=3, seed=5)
    for index, image in enumerate(engine.generate(job)):
        (single,) = engine.generate(replace(job, num_images=1, seed=5 + index))
        assert image.image.tobytes() == single.image.tobytes()


def test_a_seed_means_the_same_noise_as_on_the_cpu(
    embedded_registry: Registry, embedded_engine: Engine, product: Image.Image
) -> None:
    """Not the same bytes, but the same picture."""
    engine = Engine(embedded_registry, device="cuda", dtype=torch.float32)
    job = embedded(product, seed=9)
    (ours,), (theirs,) = engine.generate(job), embedded_engine.generate(job)
    difference = np.abs(np.asarray(ours.image, int) - np.asarray(theirs.image, int))
    assert difference.mean() < 2


def test_a_batch_equals_single_images_in_float32(
    embedded_registry: Registry, product: Image.Image
) -> None:
    engine = Engine(embedded_registry, device="cuda", dtype=torch.float32)
    job = embedded(product, num_images=3, seed=5)
    for index, image in enumerate(engine.generate(job)):
        (single,) = engine.generate(replace(job, num_images=1, seed=5 + index))
        assert_same_image(image, single)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types_give_the_picture_of_float32(
    embedded_registry: Registry, product: Image.Image, dtype: torch.dtype
) -> None:
    job = embedded(product, seed=9)
    narrow = Engine(embedded_registry, device="cuda", dtype=dtype).generate(job)[0]
    wide = Engine(embedded_registry, device="cuda", dtype=torch.float32).generate(job)[0]
    difference = np.abs(np.asarray(narrow.image, int) - np.asarray(wide.image, int))
    assert difference.mean() < 4


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")
def test_compiled_kernels_give_the_picture_of_eager_ones(
    embedded_registry: Registry, product: Image.Image
) -> None:
    job = embedded(product, num_images=2, seed=9)
    compiled = Engine(embedded_registry, device="cuda", dtype=torch.float32, kernels="compiled")
    eager = Engine(embedded_registry, device="cuda", dtype=torch.float32)
    for ours, theirs in zip(compiled.generate(job), eager.generate(job), strict=True):
        difference = np.abs(np.asarray(ours.image, int) - np.asarray(theirs.image, int))
        assert difference.mean() < 1
