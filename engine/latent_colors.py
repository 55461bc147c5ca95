"""Latents as rough colours, by a linear map instead of the VAE's decoder: for previews."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

# Enough colours for the few weights there are, and little to encode: a third of 512x512 pixels.
_NUM_PATCHES = 12
_PATCH_CELLS = 10
_MARGIN_CELLS = 2  # left out: VAEs code the border of a picture in a way of its own
_RIDGE = 1e-4  # of the samples' number: a VAE whose channels say nothing gives grey, not an error


@dataclass(frozen=True, slots=True, eq=False)
class LatentColors:
    """The linear map that comes closest to what one VAE makes of plain colours.

    A latent cell becomes one pixel, the mean colour of what it decodes to.

    Attributes:
        weights: float32 (C, 3).
        offset: float32 (3,), of colours in -1..1.
    """

    weights: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]

    def picture(self, latents: npt.NDArray[np.float32]) -> Image.Image:
        """Latents -> RGB of a pixel a cell; what is not finite becomes black or white.

        Args:
            latents: (C, h, w), scaled by the VAE factor.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            # Not by a matrix product: its threads would compete with those of the step loop.
            colors = np.einsum("co,chw->hwo", self.weights, latents) + self.offset
            levels = np.nan_to_num((colors + 1) * 127.5, nan=0.0)
        return Image.fromarray(np.rint(levels.clip(0, 255)).astype(np.uint8))


def fit_latent_colors(
    encode: Callable[[torch.Tensor], torch.Tensor], factor: int, channels: int
) -> LatentColors:
    """Least squares over the encodings of smooth colour patches, always the same ones.

    Args:
        encode: (B, 3, H, W) in [-1, 1] -> float32 (B, C, H/factor, W/factor).
        factor: pixels per latent cell and side.
        channels: C.
    """
    patches = _patches(_PATCH_CELLS * factor)
    latents = encode(torch.from_numpy(patches)).cpu().numpy()
    inner = slice(_MARGIN_CELLS, _PATCH_CELLS - _MARGIN_CELLS)
    cells = patches.reshape(_NUM_PATCHES, 3, _PATCH_CELLS, factor, _PATCH_CELLS, factor)
    colors = cells.mean(axis=(3, 5))[..., inner, inner].transpose(0, 2, 3, 1).reshape(-1, 3)
    samples = latents[..., inner, inner].transpose(0, 2, 3, 1).reshape(-1, channels)
    usable = np.isfinite(samples).all(axis=1)  # a narrow type may overflow
    known = np.column_stack([samples[usable], np.ones(usable.sum())]).astype(np.float64)
    normal = known.T @ known + _RIDGE * max(1, len(known)) * np.eye(channels + 1)
    solved = np.linalg.solve(normal, known.T @ colors[usable]).astype(np.float32)
    return LatentColors(solved[:channels], solved[channels])


def _patches(side_px: int) -> npt.NDArray[np.float32]:
    """float32 (N, 3, side_px, side_px) in -1..1: each runs smoothly between four colours."""
    corners = np.random.default_rng(0).uniform(-1, 1, (_NUM_PATCHES, 3, 2, 2))
    ramp = np.linspace(0, 1, side_px)
    shares = np.stack([1 - ramp, ramp])
    patches: npt.NDArray[np.float32] = np.einsum(
        "ncij,iy,jx->ncyx", corners, shares, shares
    ).astype(np.float32)
    return patches
