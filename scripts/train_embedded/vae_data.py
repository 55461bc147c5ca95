"""Training crops for the autoencoder, some with flat shapes pasted in as masked images have them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.train_embedded.dataset import SceneShard


def crop_batch(
    shards: list[SceneShard], rng: np.random.Generator, batch_size: int, side_px: int
) -> torch.Tensor:
    """(B, 3, side, side) float32 in [-1, 1], channels last."""
    crops = [_crop(shards, rng, side_px) for _ in range(batch_size)]
    batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
    return batch.contiguous(memory_format=torch.channels_last)


def _crop(shards: list[SceneShard], rng: np.random.Generator, side_px: int) -> NDArray[np.float32]:
    images = shards[rng.integers(len(shards))].images
    image = images[rng.integers(len(images))]
    height, width = image.shape[:2]
    if rng.random() < 0.25 and min(height, width) >= 2 * side_px:
        image = image[: height // 2 * 2 : 2, : width // 2 * 2 : 2]  # crisper than any reduced one
        height, width = image.shape[:2]
    top = rng.integers(height - side_px + 1)
    left = rng.integers(width - side_px + 1)
    crop = image[top : top + side_px, left : left + side_px]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    pixels = crop.astype(np.float32) / 127.5 - 1
    if rng.random() < 0.4:
        pixels = _with_shapes(pixels, rng)
    return np.ascontiguousarray(pixels)


def _with_shapes(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Flat ellipses and boxes over the crop, half of them the mid-grey of masked images."""
    side = pixels.shape[0]
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    for _ in range(rng.integers(1, 4)):
        center_y, center_x = rng.uniform(0, side, 2)
        radius_y, radius_x = rng.uniform(side / 25, side / 2, 2)
        across, down = (x - center_x) / radius_x, (y - center_y) / radius_y
        inside = (
            across**2 + down**2 < 1
            if rng.random() < 0.5
            else np.maximum(abs(across), abs(down)) < 1
        )
        if rng.random() < 0.5:
            color = np.zeros(3, np.float32)
        else:
            color = rng.uniform(-1, 1, 3).astype(np.float32) * (1 + 0.4 * across[..., None])
        pixels = np.where(inside[..., None] != (rng.random() < 0.15), color, pixels)
    return np.clip(pixels, -1, 1).astype(np.float32)
