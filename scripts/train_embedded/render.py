"""Renders scenes with products into shards on disk; goes on where it stopped.

    python -m scripts.train_embedded.render --work DIR --shards 300

Every picture is drawn half as large again and reduced, which is the cheapest antialiasing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scripts.train_embedded.canvas import Array, Canvas, canvas
from scripts.train_embedded.composition import place
from scripts.train_embedded.dataset import SceneRecord, SceneShard, write_shard
from scripts.train_embedded.scene import Scene
from scripts.train_embedded.scenes import KINDS

SUPERSAMPLING = 1.5
SCENES_PER_SHARD = 64

# width, height, share: 1:1, 3:4, 4:3, 9:16 and 16:9 around 256x256 of area, and some 384x384.
SIZES: tuple[tuple[int, int, float], ...] = (
    (256, 256, 0.44),
    (224, 288, 0.11),
    (288, 224, 0.11),
    (192, 352, 0.11),
    (352, 192, 0.11),
    (384, 384, 0.12),
)

# Seeds below this are for training; whoever measures draws from above it.
HELD_OUT_SEED = 10_000_000


def main() -> None:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("training"))
    parser.add_argument("--shards", type=int, default=300, help="how many there shall be in all")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    folder = options.work / "scenes"
    missing = [
        index for index in range(options.shards) if not any(folder.glob(f"*-{index:05d}.json"))
    ]
    with Pool(options.processes) as pool:
        for done, name in enumerate(
            pool.imap_unordered(partial(render_shard, folder=folder), missing), 1
        ):
            print(f"{done}/{len(missing)} {name}", flush=True)


def render_shard(index: int, *, folder: Path) -> str:
    """Draws one shard; its size and its scenes follow from its index alone."""
    rng = np.random.default_rng((7, index))
    shares = np.array([share for _, _, share in SIZES])
    width, height, _ = SIZES[rng.choice(len(SIZES), p=shares / shares.sum())]
    pictures = [
        picture
        for offset in range(SCENES_PER_SHARD)
        for picture in pictures_of_scene(index * SCENES_PER_SHARD + offset, width, height)
    ]
    images, alphas, records = zip(*pictures, strict=True)
    name = f"{width}x{height}-{index:05d}"
    write_shard(folder, name, SceneShard(np.stack(images), np.stack(alphas), list(records)))
    return name


def pictures_of_scene(
    seed: int, width_px: int, height_px: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], SceneRecord]]:
    """Two pictures of one scene: with two different products, or one of them with none.

    Yields:
        image (H, W, 3), alpha (H, W) of the product, record.
    """
    rng = np.random.default_rng(seed)
    large = canvas(round(width_px * SUPERSAMPLING), round(height_px * SUPERSAMPLING))
    scene = draw_scene(seed, large)
    for with_product in (True, rng.random() < 0.7):
        composite = place(large, scene, rng) if with_product else None
        image, alpha = (
            (composite.image, composite.alpha)
            if composite
            else (scene.image, np.zeros_like(large.x))
        )
        yield (
            reduce(image, width_px, height_px),
            reduce(alpha, width_px, height_px),
            SceneRecord(
                seed=seed,
                kind=scene.kind,
                phrases=scene.phrases,
                time_of_day=scene.light.time_of_day,
                colors=scene.colors,
                product=composite.name if composite else None,
            ),
        )


def draw_scene(seed: int, c: Canvas, kind: str | None = None) -> Scene:
    """The scene of that seed, of a kind drawn by the seed unless one is asked for."""
    rng = np.random.default_rng((seed, 1))
    drawn = str(rng.choice(list(KINDS)))
    return KINDS[kind or drawn](c, rng)


def reduce(image: Array, width_px: int, height_px: int) -> NDArray[np.uint8]:
    """(H, W[, 3]) float32 in 0..1 -> uint8 of the size asked for."""
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    small = Image.fromarray(pixels).resize((width_px, height_px), Image.Resampling.LANCZOS)
    return np.asarray(small)


if __name__ == "__main__":
    main()
