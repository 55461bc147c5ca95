"""Encodes rendered pictures with the trained autoencoder, masked as the engine masks them.

python -m scripts.train_embedded.encode --work DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from PIL import Image

from engine.compose import masked_image
from engine.mask import repaint_mask
from engine.vae import LatentCodec
from scripts.train_embedded.dataset import SceneShard, read_shard
from scripts.train_embedded.masks import random_alpha

BATCH_SIZE = 16


def main() -> None:
    """Command line; see the module's text."""
    diffusers.logging.set_verbosity_error()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("training"))
    options = parser.parse_args()
    vae = AutoencoderTiny.from_pretrained(options.work / "vae").eval()
    codec = LatentCodec(vae.to(memory_format=torch.channels_last))
    out = options.work / "latents"
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted((options.work / "scenes").glob("*.json")):
        target = out / f"{path.stem}.npz"
        if not target.exists():
            arrays = encode_shard(read_shard(path), codec, seed=int(path.stem[-5:]))
            partial = target.with_suffix(".partial.npz")
            np.savez(partial, **arrays)
            partial.rename(target)
            print(path.stem, flush=True)


def encode_shard(
    shard: SceneShard, codec: LatentCodec, *, seed: int
) -> dict[str, NDArray[np.float16] | NDArray[np.uint8]]:
    """Latents of one shard.

    Returns:
        image_latents (N, 4, h, w) float16, masked_image_latents likewise, repaint_mask (N, h, w)
        uint8 with 1 = repaint.
    """
    rng = np.random.default_rng((11, seed))
    images, masked, masks = [], [], []
    for image, alpha, record in zip(shard.images, shard.alphas, shard.records, strict=True):
        kept = random_alpha(alpha, rng, has_product=record.product is not None)
        foreground = Image.fromarray(np.dstack([image, kept]))
        images.append(image.astype(np.float32) / 127.5 - 1)
        masked.append(masked_image(foreground))
        masks.append(repaint_mask(kept, codec.factor).astype(np.uint8))
    return {
        "image_latents": _encode(images, codec),
        "masked_image_latents": _encode(masked, codec),
        "repaint_mask": np.stack(masks),
    }


def _encode(images: list[NDArray[np.float32]], codec: LatentCodec) -> NDArray[np.float16]:
    parts = []
    for first in range(0, len(images), BATCH_SIZE):
        batch = torch.from_numpy(np.stack(images[first : first + BATCH_SIZE]))
        parts.append(codec.encode(batch.permute(0, 3, 1, 2)).numpy().astype(np.float16))
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
