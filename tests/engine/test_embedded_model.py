"""What the embedded model understands: small, over several seeds, with generous margins.

These guard the whole pipeline from silent damage: a wrong mask polarity, a dropped prompt or a
shifted schedule passes shape checks, but not these.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.engine import Engine
from engine.job import GenerationJob, Sampler

SEEDS = 4
SIZE_PX = 128


def test_blue_sky_is_bluer_than_sunset_sky(embedded_engine: Engine, product: Image.Image) -> None:
    blue = _backgrounds(embedded_engine, product, "blue sky, white clouds")
    sunset = _backgrounds(embedded_engine, product, "sunset sky")
    blueness = [image[..., 2].mean() - image[..., 0].mean() for image in (blue, sunset)]
    assert blueness[0] > blueness[1] + 40


@pytest.mark.parametrize("sampler", Sampler)
def test_every_sampler_paints_a_blue_sky(
    embedded_engine: Engine, product: Image.Image, sampler: Sampler
) -> None:
    sky = _backgrounds(embedded_engine, product, "blue sky, white clouds", sampler=sampler)
    assert sky[..., 2].mean() > sky[..., 0].mean() + 50


def test_grass_is_green_at_the_bottom(embedded_engine: Engine, product: Image.Image) -> None:
    images = _backgrounds(embedded_engine, product, "green grass, meadow, blue sky")
    top, bottom = images[:, : SIZE_PX // 5], images[:, -SIZE_PX // 5 :]

    def greenness(part: np.ndarray) -> float:
        return float(part[..., 1].mean() - part[..., 2].mean())

    assert greenness(bottom) > greenness(top) + 40


def test_the_negative_prompt_pushes_away(embedded_engine: Engine, product: Image.Image) -> None:
    plain = _backgrounds(embedded_engine, product, "studio background")
    pushed = _backgrounds(
        embedded_engine, product, "studio background", negative_prompt="white, beige, pink"
    )
    assert pushed.mean() < plain.mean() - 10


def test_a_strong_reference_is_kept_and_a_weak_one_is_not(
    embedded_engine: Engine, product: Image.Image, examples: Path
) -> None:
    with Image.open(examples / "lake-pagoda.jpg") as opened:
        reference = opened.convert("RGB").resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC)
    target = np.asarray(reference).astype(float)
    distances = []
    for refer_strength in (0.9, 0.5, 0.1):
        images = _backgrounds(
            embedded_engine,
            product,
            "night sky, stars",
            reference=reference,
            strength=1 - refer_strength,
        )
        distances.append(np.abs(images - target)[:, _clear(product)].mean())
    assert distances[0] < distances[1] < distances[2]
    assert distances[0] < 0.5 * distances[2]


def test_more_guidance_means_more_colour(embedded_engine: Engine, product: Image.Image) -> None:
    weak = _backgrounds(embedded_engine, product, "sunset sky", guidance_scale=1.0)
    strong = _backgrounds(embedded_engine, product, "sunset sky", guidance_scale=5.0)

    def saturation(images: np.ndarray) -> float:
        return float((images.max(axis=-1) - images.min(axis=-1)).mean())

    assert saturation(strong) > saturation(weak)


def test_the_product_does_not_leak_into_its_surroundings(
    embedded_engine: Engine, product: Image.Image
) -> None:
    """A red bottle before a blue sky: two cells away from it nothing is red."""
    images = _backgrounds(embedded_engine, product, "blue sky, white clouds")
    alpha = np.asarray(product)[..., 3]
    near = Image.fromarray(alpha).resize((8, 8), Image.Resampling.BOX)
    far = np.asarray(near.resize((SIZE_PX, SIZE_PX), Image.Resampling.NEAREST)) == 0
    red_minus_blue = images[:, far][..., 0] - images[:, far][..., 2]
    assert (red_minus_blue > 60).mean() < 0.02


@pytest.mark.parametrize("steps", [6, 20])
def test_few_and_many_steps_both_end_in_a_picture(
    embedded_engine: Engine, product: Image.Image, steps: int
) -> None:
    images = _backgrounds(
        embedded_engine, product, "sandy beach, sea, blue sky", num_inference_steps=steps
    )
    sky, sand = images[:, :20].mean(axis=(0, 1, 2)), images[:, -15:].mean(axis=(0, 1, 2))
    assert sky[2] - sky[0] > sand[2] - sand[0] + 20


def _backgrounds(engine: Engine, product: Image.Image, prompt: str, **settings: Any) -> np.ndarray:
    """float (SEEDS, SIZE_PX, SIZE_PX, 3), 0..255."""
    job = GenerationJob(
        **{
            "job_id": prompt,
            "model_name": "PICPIK General",
            "foreground": product,
            "prompt": prompt,
            "num_images": SEEDS,
            "num_inference_steps": 10,
            **settings,
        }
    )
    return np.stack([np.asarray(image.image).astype(float) for image in engine.generate(job)])


def _clear(product: Image.Image) -> np.ndarray:
    return np.asarray(product)[..., 3] == 0
