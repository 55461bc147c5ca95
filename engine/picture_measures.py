"""Numbers about a finished picture: sharpness, the seam at the outline, colours beside a reference's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Channels = NDArray[np.float64]

_OUTLINE_PX = 2  # nearer to the product its soft edge is mixed into the background
SOFT_PX = 1.5  # nearer pixels hold what reducing a picture smears over its edges
_SEAM_PX = 5
_FAR_PX = (10, 24)  # for the seam: background that knows nothing of the outline
_DIRECTIONS = 48
_QUANTILES = np.linspace(0.005, 0.995, 100)
_LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
_XYZ_OF_RGB = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


@dataclass(frozen=True, slots=True)
class PictureMeasures:
    """What is measured of the background of one picture; None where there is nothing to measure.

    Attributes:
        sharpness: see `sharpness`.
        seam_gradient: mean step between neighbouring pixels along the outline, a share of full
            scale; see `seam_gradients`.
        far_gradient: the same far from the outline, to compare with.
        delta_e: see `mean_delta_e`; of pictures with a reference, as are the palettes.
        palette_distance: see `palette_distance`.
    """

    sharpness: float | None
    seam_gradient: float | None
    far_gradient: float | None
    delta_e: float | None
    palette_distance: float | None


def measure_picture(image: Pixels, alpha: Pixels, reference: Pixels | None) -> PictureMeasures:
    """All measures of one picture.

    Args:
        image: (H, W, 3), sRGB.
        alpha: (H, W), of the product on the canvas.
        reference: (H, W, 3), sRGB, on the canvas; None for none.
    """
    background = background_of(alpha)
    gradients = seam_gradients(image, alpha)
    near, far = (None, None) if gradients is None else gradients
    if not background.any():
        return PictureMeasures(None, near, far, None, None)
    crispness = sharpness(image, background)
    if reference is None:
        return PictureMeasures(crispness, near, far, None, None)
    delta_e = mean_delta_e(image, background, reference)
    palette = palette_distance(image, background, reference)
    return PictureMeasures(crispness, near, far, delta_e, palette)


def background_of(alpha: NDArray[np.uint8]) -> Mask:
    """Pixels that are background alone, (H, W)."""
    background: Mask = ndimage.distance_transform_edt(alpha == 0) > _OUTLINE_PX
    return background


def sharpness(image: Pixels, inside: Mask) -> float:
    """Variance of the Laplacian of luma 0..255: 0 of a plain area, more the crisper the picture.

    Args:
        image: (H, W, 3).
        inside: (H, W), the pixels that count; some.
    """
    laplacian = ndimage.laplace(image @ _LUMA, mode="nearest")
    return float(laplacian[inside].var())


def seam_gradients(image: Pixels, alpha: Pixels) -> tuple[float, float] | None:
    """Mean step between neighbouring background pixels at the outline and far from it.

    Only pairs that lie wholly in the background count, so the product's own edge does not.

    Args:
        image: (H, W, 3).
        alpha: (H, W) of the product.

    Returns:
        Both as shares of full scale; None where one of the bands is empty.
    """
    distance = ndimage.distance_transform_edt(alpha == 0)
    pixels = image.astype(np.float32) / 255
    steps, places = [], []
    for axis in (0, 1):
        steps.append(np.abs(np.diff(pixels, axis=axis)).mean(-1).ravel())
        ends = np.moveaxis(distance, axis, 0)
        nearer = np.minimum(ends[1:], ends[:-1])
        places.append(np.moveaxis(nearer, 0, axis).ravel())
    step, place = np.concatenate(steps), np.concatenate(places)
    near = (place > SOFT_PX) & (place <= _SEAM_PX)
    far = (place > _FAR_PX[0]) & (place <= _FAR_PX[1])
    if not near.any() or not far.any():
        return None
    return float(step[near].mean()), float(step[far].mean())


def mean_delta_e(image: Pixels, inside: Mask, reference: Pixels) -> float:
    """Mean distance in CIELAB (CIE 1976) between pixels at the same place.

    Args:
        image: (H, W, 3).
        inside: (H, W), the pixels that count; some.
        reference: (H, W, 3).
    """
    apart = lab(image[inside]) - lab(reference[inside])
    return float(np.linalg.norm(apart, axis=-1).mean())


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
    colors, wanted = lab(image[inside]), lab(reference).reshape(-1, 3)
    directions = _even_directions(_DIRECTIONS).T
    ours = np.quantile(colors @ directions, _QUANTILES, axis=0)
    theirs = np.quantile(wanted @ directions, _QUANTILES, axis=0)
    return float(np.abs(ours - theirs).mean())


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
