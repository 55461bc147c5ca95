from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scripts.train_embedded.canvas import canvas
from scripts.train_embedded.composition import place
from scripts.train_embedded.light import TIMES_OF_DAY
from scripts.train_embedded.palette import COLORS, NAMES
from scripts.train_embedded.products import SHAPES, build
from scripts.train_embedded.render import draw_scene, pictures_of_scene
from scripts.train_embedded.scene import Scene
from scripts.train_embedded.scenes import KINDS
from scripts.train_embedded.words import SYNONYMS, caption

SIDE_PX = 96


def scene_of(kind: str, seed: int = 3) -> Scene:
    return draw_scene(seed, canvas(SIDE_PX, SIDE_PX), kind)


def test_there_are_kinds_and_shapes_enough() -> None:
    assert len(KINDS) >= 24
    assert len(SHAPES) >= 60


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_picture_in_range(kind: str) -> None:
    scene = scene_of(kind)
    assert scene.kind == kind
    assert scene.image.shape == (SIDE_PX, SIDE_PX, 3)
    assert scene.image.dtype == np.float32
    assert np.isfinite(scene.image).all()
    assert scene.image.min() > -0.5
    assert scene.image.max() < 1.5  # reduced pictures are clipped; more would be a mistake
    assert scene.image.std() > 0.005


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_described(kind: str) -> None:
    scene = scene_of(kind)
    assert scene.phrases[0]
    assert all(name in NAMES for _, name in scene.colors)
    assert scene.light.time_of_day in (None, *TIMES_OF_DAY)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_is_a_scene(kind: str) -> None:
    first, again, other = scene_of(kind), scene_of(kind), scene_of(kind, seed=4)
    assert np.array_equal(first.image, again.image)
    assert (first.phrases, first.colors) == (again.phrases, again.colors)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("kind", ["sky", "podium", "planks", "neon", "marble table"])
def test_placing_writes_into_no_input(kind: str) -> None:
    c, scene = canvas(SIDE_PX, SIDE_PX), scene_of(kind)
    before = scene.image.copy()
    composite = place(c, scene, np.random.default_rng(1))
    assert np.array_equal(scene.image, before)
    assert composite.image is not scene.image


@pytest.mark.parametrize("kind", ["sky", "podium", "planks", "neon", "marble table"])
def test_under_full_alpha_nothing_of_the_scene_shows(kind: str) -> None:
    """Shadows and reflections lie behind the product, whatever the scene."""
    c, scene = canvas(SIDE_PX, SIDE_PX), scene_of(kind)
    inverted = replace(scene, image=(1 - scene.image).astype(np.float32))
    first = place(c, scene, np.random.default_rng(1))
    second = place(c, inverted, np.random.default_rng(1))
    assert np.array_equal(first.alpha, second.alpha)
    opaque = first.alpha == 1
    assert opaque.any()
    np.testing.assert_allclose(first.image[opaque], second.image[opaque], atol=1e-5)
    assert not np.allclose(first.image[first.alpha == 0], second.image[first.alpha == 0])


@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_a_share(seed: int) -> None:
    composite = place(canvas(SIDE_PX, SIDE_PX), scene_of("studio"), np.random.default_rng(seed))
    assert 0 <= composite.alpha.min() <= composite.alpha.max() <= 1 + 1e-6
    assert composite.alpha.mean() > 0.005


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_can_be_built(name: str) -> None:
    model = build(np.random.default_rng(2), name)
    assert model.name == name
    assert model.parts
    assert 0.02 < model.aspect < 20


def test_pictures_of_a_scene_repeat() -> None:
    first, again = (list(pictures_of_scene(11, 64, 64)) for _ in range(2))
    assert len(first) == 2
    for (image, alpha, record), (image_, alpha_, record_) in zip(first, again, strict=True):
        assert image.shape == (64, 64, 3)
        assert image.dtype == alpha.dtype == np.uint8
        assert np.array_equal(image, image_)
        assert np.array_equal(alpha, alpha_)
        assert record == record_
        assert (record.product is None) == (not alpha.any())


def test_a_caption_says_the_main_phrase() -> None:
    phrases = ("red studio", "soft light", "spheres")
    captions = [caption(np.random.default_rng(seed), phrases, "night") for seed in range(60)]
    assert all("red studio" in text for text in captions)
    assert len(set(captions)) > 10
    assert any(word in text for text in captions for word in SYNONYMS["night"])


def test_no_word_means_two_colours() -> None:
    words = [word for name, (_, others) in COLORS.items() for word in (name, *others)]
    assert len(words) == len(set(words))
