"""What was encoded once is not encoded again, within bounds."""

from __future__ import annotations

from dataclasses import replace

import torch
from PIL import Image

from engine.encoding_cache import EncodingCache, image_digest
from engine.engine import Engine
from engine.job import GenerationJob
from engine.prompt import PromptEmbeds


def test_a_kept_encoding_is_the_same_object() -> None:
    cache = EncodingCache()
    first = cache.get("a", lambda: torch.zeros(10))
    assert cache.get("a", lambda: torch.ones(10)) is first
    assert (cache.hits, cache.misses, cache.num_bytes) == (1, 1, 40)


def test_the_least_recently_used_goes_first() -> None:
    cache = EncodingCache(max_bytes=80)
    for key in ("a", "b", "a", "c"):
        cache.get(key, lambda: torch.zeros(10))
    misses = cache.misses
    cache.get("a", lambda: torch.zeros(10))
    assert cache.misses == misses
    cache.get("b", lambda: torch.zeros(10))
    assert cache.misses == misses + 1
    assert cache.num_bytes == 80


def test_an_encoding_above_the_bound_is_made_and_not_kept() -> None:
    cache = EncodingCache(max_bytes=39)
    assert len(cache.get("a", lambda: torch.zeros(10))) == 10
    assert cache.num_bytes == 0


def test_all_tensors_of_a_prompt_count() -> None:
    cache = EncodingCache()
    cache.get("a", lambda: PromptEmbeds(torch.zeros(1, 77, 8), torch.zeros(1, 77, 8)))
    assert cache.num_bytes == 2 * 77 * 8 * 4


def test_images_are_told_apart_by_pixels_mode_and_size() -> None:
    images = [
        Image.new("L", (4, 2)),
        Image.new("L", (2, 4)),
        Image.new("RGB", (4, 2)),
        Image.new("L", (4, 2), 1),
    ]
    assert len({image_digest(image) for image in images}) == 4
    assert image_digest(images[0]) == image_digest(images[0].copy())


def test_a_repeated_product_and_prompt_are_encoded_once(
    tiny_engine: Engine, job: GenerationJob
) -> None:
    (first,) = tiny_engine.generate(job)
    encodings = tiny_engine.encodings
    misses = encodings.misses
    (again,) = tiny_engine.generate(job)
    assert encodings.misses == misses
    assert again.image.tobytes() == first.image.tobytes()
    tiny_engine.generate(replace(job, prompt="another prompt"))
    assert encodings.misses == misses + 1, "the prompts alone"


def test_a_cached_encoding_belongs_to_its_checkpoint(
    tiny_engine: Engine, job: GenerationJob
) -> None:
    others = [replace(job, model_name=name) for name in ("four", "four_kl")]
    fresh = [Engine(tiny_engine.registry).generate(each)[0] for each in others]
    tiny_engine.generate(job)
    for other, expected in zip(others, fresh, strict=True):
        (image,) = tiny_engine.generate(other)
        assert image.image.tobytes() == expected.image.tobytes()
