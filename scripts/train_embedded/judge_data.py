"""What the judge learns from: reduced pictures of the rendered shards, kept on disk.

To each picture as rendered come, where the shard allows, the same product without its shadow, and
for a share of all the picture after a round trip through the autoencoder: the judge shall see what
is shown, not how sharply.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from engine.vae import LatentCodec
from scripts.train_embedded.dataset import SceneShard, read_shard
from scripts.train_embedded.held_out import paste
from scripts.train_embedded.judge_labels import encode, true_answers
from scripts.train_embedded.judge_model import SIDE_PX, as_input, judge_view

LATENT_NOISE = 0.1  # up to so much of the latents' spread: denoised latents are never quite right
_SHADOW_LEVELS = 8  # a pixel this much darker than the bare scene is in the shadow
_SHADOW_SHARE = 0.002  # of the picture; less of it cannot be told from grain

Labelled = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def prepare(
    scenes: Path, folder: Path, codec: LatentCodec | None, *, limit: int, round_trips: float
) -> None:
    """Writes views and targets of the first `limit` shards; those there already are kept.

    Args:
        scenes: folder of the rendered shards.
        folder: where to write NAME-views.npy and NAME-targets.npy.
        codec: the autoencoder of the round trips; None for none.
        limit: number of shards.
        round_trips: share of the pictures that also take one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted(scenes.glob("*.json"), key=lambda path: path.stem[-5:])[:limit]
    for path in paths:
        done = folder / f"{path.stem}-targets.npy"
        if done.exists():
            continue
        rng = np.random.default_rng((13, int(path.stem[-5:])))
        views, targets = [], []
        for image, target in labelled_pictures(read_shard(path)):
            views.append(judge_view(image))
            targets.append(target)
            if codec is not None and rng.random() < round_trips:
                noise = LATENT_NOISE * float(rng.random())
                views.append(judge_view(round_trip(image, codec, rng, noise)))
                targets.append(target)
        np.save(folder / f"{path.stem}-views.npy", np.stack(views))
        partial = folder / f"{path.stem}.partial.npy"
        np.save(partial, np.stack(targets))
        partial.rename(done)
        print(f"prepared {path.stem}", flush=True)


def labelled_pictures(shard: SceneShard) -> Iterator[Labelled]:
    """Pictures (H, W, 3) of a shard with their targets, some of them without their shadow.

    Some scenes are there twice, with a product and bare. What differs beside the product is its
    shadow, and the bare scene with the product pasted in is the same picture without it.
    """
    bare = {
        record.seed: image
        for image, record in zip(shard.images, shard.records, strict=True)
        if record.product is None
    }
    for image, alpha, record in zip(shard.images, shard.alphas, shard.records, strict=True):
        background = bare.get(record.seed)
        if record.product is None or background is None:
            yield image, encode(true_answers(record))
            continue
        shaded = throws_shadow(image, alpha, background)
        yield image, encode(true_answers(record, shadow=shaded))
        if shaded:
            yield paste(image, alpha, background), encode(true_answers(record, shadow=False))


def throws_shadow(
    image: NDArray[np.uint8], alpha: NDArray[np.uint8], background: NDArray[np.uint8]
) -> bool:
    """Whether `image` is darker than the bare `background` beside the product."""
    darker = (background.astype(np.int16) - image).mean(-1) > _SHADOW_LEVELS
    return bool((darker & (alpha == 0)).mean() > _SHADOW_SHARE)


def round_trip(
    image: NDArray[np.uint8], codec: LatentCodec, rng: np.random.Generator, noise: float
) -> NDArray[np.uint8]:
    """(H, W, 3) through the autoencoder; sides are multiples of its factor."""
    pixels = torch.from_numpy(image.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    latents = codec.encode(pixels)
    random = torch.from_numpy(rng.standard_normal(tuple(latents.shape), np.float32))
    decoded = codec.decode(latents + noise * latents.std() * random)[0].permute(1, 2, 0)
    return ((decoded.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()


class JudgeData:
    """All prepared pictures of a folder, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        names = sorted(path.name for path in folder.glob("*-targets.npy"))
        if not names:
            raise FileNotFoundError(f"{folder}: no prepared pictures")
        self._views = [
            np.load(folder / name.replace("-targets", "-views"), mmap_mode="r") for name in names
        ]
        self._targets = [np.load(folder / name) for name in names]
        counts = np.array([len(targets) for targets in self._targets], float)
        self._shares = counts / counts.sum()

    def batch(self, rng: np.random.Generator, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, 3, 128, 128) in [-1, 1], altered a little, and targets (B, NUM_CLASSES)."""
        views, targets = [], []
        for shard in rng.choice(len(self._views), size, p=self._shares):
            index = rng.integers(len(self._targets[shard]))
            view = self._views[shard][index]
            views.append(view[:, ::-1] if rng.random() < 0.5 else view)
            targets.append(self._targets[shard][index])
        images = _altered(as_input(np.stack(views)), rng)
        return images, torch.from_numpy(np.stack(targets).astype(np.float32))


def _altered(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Cut a little smaller, at times out of focus, a little brighter or darker, with some noise."""
    side = int(rng.integers(round(0.88 * SIDE_PX), SIDE_PX + 1))
    top, left = rng.integers(0, SIDE_PX - side + 1, 2)
    cut = images[:, :, top : top + side, left : left + side]
    if rng.random() < 0.3:
        small = int(rng.integers(SIDE_PX // 2, SIDE_PX))
        cut = functional.interpolate(cut, (small, small), mode="bilinear", antialias=True)
    if cut.shape[-1] != SIDE_PX:
        cut = functional.interpolate(cut, (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True)
    gain = torch.from_numpy(rng.uniform(0.95, 1.05, (len(images), 1, 1, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.standard_normal(tuple(cut.shape), np.float32))
    altered = (cut + 1) * gain - 1 + float(rng.uniform(0, 0.03)) * noise
    return altered.contiguous(memory_format=torch.channels_last)
