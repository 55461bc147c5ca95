"""How far the style of a background is from that of a picture: colours, contrasts, directions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import ndimage

from engine.picture_measures import Channels, Mask, Pixels, lab

# A latent cell is 8 pixels wide: from half of that on texture is the UNet's, below the decoder's.
_TEXTURE_PX = (4.0, 8.0, 16.0)
_DETAIL_PX = (0.0, 1.0, 2.0, 4.0)
_GRAIN_PX = 4.0
_GRAIN_BINS = 8
_LEAST_CONTRAST = 0.2  # of lightness 0..100; what varies less looks flat


def texture_distance(image: Pixels, inside: Mask, reference: Pixels) -> float:
    """Mean of |ln(contrast / contrast of the reference)| over octaves and channels of CIELAB.

    Octaves of 4 to 16 pixels, which the UNet paints; arguments as of `palette_distance`.
    """
    ours = _contrasts(lab(image), inside, _TEXTURE_PX)
    theirs = _contrasts(lab(reference), _everywhere(reference), _TEXTURE_PX)
    return float(np.abs(np.log(ours / theirs)).mean())


def detail_distance(image: Pixels, inside: Mask, reference: Pixels) -> float:
    """The same of lightness below 4 pixels, where the autoencoder's decoder paints alone."""
    ours = _contrasts(lab(image)[..., :1], inside, _DETAIL_PX)
    theirs = _contrasts(lab(reference)[..., :1], _everywhere(reference), _DETAIL_PX)
    return float(np.abs(np.log(ours / theirs)).mean())


def grain_distance(image: Pixels, inside: Mask, reference: Pixels) -> float:
    """How differently edges run: the part of all steepness that would have to turn, 0..1."""
    ours = _directions(lab(image)[..., :1], inside)
    theirs = _directions(lab(reference)[..., :1], _everywhere(reference))
    return float(np.abs(ours - theirs).sum() / 2)


def _contrasts(channels: Channels, inside: Mask, scales_px: tuple[float, ...]) -> Channels:
    """Root mean square of what lies between neighbouring scales, a number each and channel."""
    levels = [_smoothed(channels, inside, scale) for scale in scales_px]
    bands = [(finer - coarser)[inside] for finer, coarser in pairwise(levels)]
    return np.sqrt(np.square(bands).mean(axis=1)) + _LEAST_CONTRAST


def _directions(channels: Channels, inside: Mask) -> Channels:
    """Shares of the gradients' length by their direction; opposite ones are the same."""
    rows, columns = np.gradient(_smoothed(channels, inside, _GRAIN_PX)[..., 0])
    angles = np.arctan2(rows, columns)[inside] % np.pi
    lengths = np.hypot(rows, columns)[inside]
    shares, _ = np.histogram(angles, _GRAIN_BINS, (0, np.pi), weights=lengths)
    return shares / max(float(shares.sum()), 1e-9)


def _smoothed(channels: Channels, inside: Mask, scale_px: float) -> Channels:
    """Blurred among the pixels inside: nothing from outside bleeds in."""
    if scale_px == 0:
        return channels
    weight = inside.astype(np.float64)[..., None]
    sigma = (scale_px, scale_px, 0)
    blurred = ndimage.gaussian_filter(channels * weight, sigma)
    return blurred / np.maximum(ndimage.gaussian_filter(weight, sigma), 1e-6)


def _everywhere(image: Pixels) -> Mask:
    return np.ones(image.shape[:2], bool)
