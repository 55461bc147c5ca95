"""What happens along the product's outline: the product growing into its background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.picture_measures import SOFT_PX, Mask, Pixels

REACH_PX = 16  # growth is looked for so far from the outline
_BACKGROUND_PX = (18, 40)  # for growth: where the background's own colour is read
_SEPARABLE = 0.2  # RGB distance of subject and background from which growth can be seen
_SAME_COLOR = 0.12
_SHADED = 0.06
_DARKEST_SHADOW = 0.2


def grown_pixels(image: Pixels, alpha: Pixels, *, upright: bool) -> Mask:
    """Background pixels that continue the product.

    A pixel within REACH_PX of the outline has grown out of the product if its colour is that of
    the nearest part of the product and far from that of the background further out, if it is no
    darker shade of that background (a shadow is not growth), and if an area of such pixels, no
    thin line, joins it to the outline. Where product and background have about the same colour nothing is counted.

    Args:
        image: (H, W, 3).
        alpha: (H, W) of the product.
        upright: the product stands on something: what lies below its parts is left out, since a
            reflection continues their colour rightly.

    Returns:
        (H, W) bool.
    """
    solid = alpha == 255
    distance = ndimage.distance_transform_edt(alpha == 0)
    far = (distance > _BACKGROUND_PX[0]) & (distance <= _BACKGROUND_PX[1])
    if not solid.any() or not far.any():
        return np.zeros(alpha.shape, bool)
    pixels = image.astype(np.float32) / 255
    subject, nearest_row = _nearest_color(pixels, solid, 2.0)
    background, _ = _nearest_color(pixels, far, 6.0)
    to_subject = np.linalg.norm(pixels - subject, axis=-1)
    to_background = np.linalg.norm(pixels - background, axis=-1)
    separable = np.linalg.norm(subject - background, axis=-1) > _SEPARABLE
    grown = (distance > SOFT_PX) & (distance <= REACH_PX) & separable
    grown &= (to_subject < _SAME_COLOR) & (to_subject < 0.5 * to_background)
    grown &= ~_is_shaded(pixels, background)
    if upright:
        below = np.arange(alpha.shape[0])[:, None] - nearest_row
        grown &= below < 0.5 * distance
    # Joints of bricks and twigs happen to have a product's colour; with the product itself put
    # back, opening takes such lines away and leaves even a narrow rim.
    product = distance <= SOFT_PX
    grown &= ndimage.binary_opening(grown | product, np.ones((3, 3), bool))
    outline = ndimage.binary_dilation(product, iterations=2)
    return ndimage.binary_propagation(grown & outline, mask=grown)


def growth(image: Pixels, alpha: Pixels, *, upright: bool) -> float:
    """Grown pixels as a share of the product's area; see `grown_pixels`."""
    area = int((alpha >= 128).sum())
    return float(grown_pixels(image, alpha, upright=upright).sum()) / max(area, 1)


def _nearest_color(
    pixels: NDArray[np.float32], inside: Mask, sigma_px: float
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Colour, smoothed within `inside`, of each pixel's nearest pixel there, and its row."""
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma_px)
    color = ndimage.gaussian_filter(pixels * inside[..., None], (sigma_px, sigma_px, 0))
    color = color / np.maximum(weight, 1e-6)[..., None]
    rows, columns = ndimage.distance_transform_edt(
        ~inside, return_distances=False, return_indices=True
    )
    return color[rows, columns], rows


def _is_shaded(pixels: NDArray[np.float32], background: NDArray[np.float32]) -> Mask:
    """Whether a pixel is its background, darker."""
    power = np.maximum((background**2).sum(-1), 1e-6)
    factor = np.clip((pixels * background).sum(-1) / power, _DARKEST_SHADOW, 1)
    shaded: Mask = np.linalg.norm(pixels - factor[..., None] * background, axis=-1) < _SHADED
    return shaded
