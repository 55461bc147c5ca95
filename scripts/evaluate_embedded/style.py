"""How far the style of a background is from that of a picture: colours, contrasts, directions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Channels = NDArray[np.float64]

_OUTLINE_PX = 2  # nearer to the product its soft edge is mixed into the background
_DIRECTIONS = 48
_QUANTILES = np.linspace(0.005, 0.995, 100)
# A latent cell is 8 pixels wide: from half of that on texture is the UNet's, below the decoder's.
_TEXTURE_PX = (4.0, 8.0, 16.0)
_DETAIL_PX = (0.0, 1.0, 2.0, 4.0)
_GRAIN_PX = 4.0
_GRAIN_BINS = 8
_LEAST_CONTRAST = 0.2  # of lightness 0..100; what varies less looks flat
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
_XYZ_OF_RGB = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def background_of(alpha: NDArray[np.uint8]) -> Mask:
    """Pixels that are background alone, (H, W)."""
    background: Mask = ndimage.distance_transform_edt(alpha == 0) > _OUTLINE_PX
    return background


def palette_distance(image: Pixels, inside: Mask, reference: Pixels) -> float:
    """Sliced Wasserstein distance of two clouds of colours in CIELAB.

    The mean way that a pixel's colour has to go until the colours of `image` are those of the
    reference, along one direction of the colour space, averaged over directions: 0 for the same
    palette, wherever in the picture its colours lie.

    Args:
        image: (H, W, 3).
        inside: (H, W), the pixels that count; some.
        reference: (H', W', 3), of which all count.
    """
    colors, wanted = lab(image)[inside], lab(reference).reshape(-1, 3)
    directions = _even_directions(_DIRECTIONS).T
    ours = np.quantile(colors @ directions, _QUANTILES, axis=0)
    theirs = np.quantile(wanted @ directions, _QUANTILES, axis=0)
    return float(np.abs(ours - theirs).mean())


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


def lab(image: Pixels) -> Channels:
    """SRGB -> CIELAB of the same shape: lightness 0..100, a and b about -128..127."""
    rgb = image.astype(np.float64) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _XYZ_OF_RGB.T / _WHITE
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _even_directions(count: int) -> Channels:
    """(count, 3) unit vectors spread over the sphere along a Fibonacci spiral."""
    height = 1 - (2 * np.arange(count) + 1) / count
    around = np.arange(count) * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(around), radius * np.sin(around), height], axis=1)


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
