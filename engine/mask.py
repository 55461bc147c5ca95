"""Alpha to repaint mask; the only place that decides its polarity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def repaint_mask(alpha: NDArray[np.uint8], factor: int) -> NDArray[np.float32]:
    """Which latent cells are repainted: those with any pixel that is not fully opaque.

    Args:
        alpha: (H, W) uint8, 255 = the subject is kept; H and W are multiples of `factor`.
        factor: pixels per latent cell side.

    Returns:
        (H/factor, W/factor) float32; 1 = repaint, 0 = keep.
    """
    height, width = alpha.shape
    assert alpha.dtype == np.uint8
    assert height % factor == 0
    assert width % factor == 0
    cells = alpha.reshape(height // factor, factor, width // factor, factor)
    repaint: NDArray[np.bool_] = cells.min(axis=(1, 3)) < 255
    return repaint.astype(np.float32)
