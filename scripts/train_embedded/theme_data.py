"""Latents of scenes as they are, and redrawn after a theme in both directions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from engine.compose import masked_image
from engine.mask import repaint_mask
from engine.vae import LatentCodec
from scripts.train_embedded.canvas import canvas
from scripts.train_embedded.render import pictures_of_scene
from scripts.train_embedded.themes import Redraw
from scripts.train_embedded.words import caption

SIDE_PX = 256
# Scenes the denoiser did not see, below those that are held out for measures.
FIRST_SEED = 5_000_000
_NAMES = ("plain", "forward", "backward", "masked", "mask")


@dataclass(frozen=True, slots=True, eq=False)
class ThemeData:
    """N pictures of one size.

    Attributes:
        plain: (N, 4, h, w) float32, scaled latents of the scene as it is.
        forward: likewise, redrawn by the theme around the product.
        backward: likewise, by its opposite.
        masked: likewise, of the product on mid-grey.
        mask: (N, 1, h, w) float32, 1 = repaint.
        captions: N prompts without a word of the theme.
    """

    plain: torch.Tensor
    forward: torch.Tensor
    backward: torch.Tensor
    masked: torch.Tensor
    mask: torch.Tensor
    captions: tuple[str, ...]

    def target(self, picked: NDArray[np.int64], weight: float) -> torch.Tensor:
        """What a LoRA of that weight, -1..1, should paint: so far towards either side."""
        side = self.forward if weight > 0 else self.backward
        return torch.lerp(self.plain[picked], side[picked], abs(weight))


def theme_data(
    path: Path, forward: Redraw, backward: Redraw, codec: LatentCodec, count: int
) -> ThemeData:
    """Reads what `path` (an npz) keeps, or draws and encodes `count` scenes and keeps them there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **_draw(forward, backward, codec, count))
        partial.rename(path)
    with np.load(path) as arrays:
        tensors = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in _NAMES}
        return ThemeData(**tensors, captions=tuple(map(str, arrays["captions"])))


def _draw(
    forward: Redraw, backward: Redraw, codec: LatentCodec, count: int
) -> dict[str, NDArray[np.generic]]:
    parts: dict[str, list[NDArray[np.generic]]] = {name: [] for name in _NAMES}
    captions = []
    c = canvas(SIDE_PX, SIDE_PX)
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        rng = np.random.default_rng((13, seed))
        pixels, alpha, record = next(pictures_of_scene(seed, SIDE_PX, SIDE_PX))
        image = pixels.astype(np.float32) / 255
        cover = (alpha.astype(np.float32) / 255)[..., None]
        pictures = [image]
        pictures += [
            redraw(image, c, rng) * (1 - cover) + image * cover for redraw in (forward, backward)
        ]
        encoded = [_encode(each * 2 - 1, codec) for each in pictures]
        foreground = Image.fromarray(np.dstack([pixels, alpha]))
        encoded.append(_encode(masked_image(foreground), codec))
        for name, latents in zip(_NAMES, encoded, strict=False):
            parts[name].append(latents)
        parts["mask"].append(repaint_mask(alpha, codec.factor)[None].astype(np.uint8))
        captions.append(caption(rng, record.phrases, None))
    return {name: np.stack(each) for name, each in parts.items()} | {"captions": np.array(captions)}


def _encode(image: NDArray[np.float32], codec: LatentCodec) -> NDArray[np.float16]:
    batch = torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None]
    return codec.encode(batch)[0].numpy().astype(np.float16)
