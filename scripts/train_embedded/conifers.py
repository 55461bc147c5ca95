"""Firs as silhouettes, plain or loaded with snow, for horizons and tree lines."""

from __future__ import annotations

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, mix, smoothstep


def draw_fir(
    c: Canvas,
    image: Array,
    x: float,
    foot: float,
    height: float,
    needles: Array,
    snow: Array | None = None,
    *,
    lit_from: float = 1.0,
) -> None:
    """Paints one fir in place.

    Args:
        c: the canvas.
        image: (H, W, 3), written to.
        x: of the stem, in units.
        foot: y where it stands.
        height: of the tree, in units.
        needles: (3,) colour of the branches.
        snow: (3,) colour of what lies on them; None leaves them bare.
        lit_from: side of the light, -1 left to 1 right; the other side is darker.
    """
    half = 0.24 * height
    where = c.window(x - half, foot - height, x + half, foot)
    down = (c.y[where] - np.float32(foot - height)) / np.float32(height)
    across = (c.x[where] - np.float32(x)) / np.float32(half)
    tiers = 4.0 + 2 * (height > 0.1)
    # Each tier of branches widens downwards and hangs over the next, narrower start.
    step = down * tiers - 0.9 * np.abs(across) / np.maximum(down, 0.2) * 0.5 + 0.5
    tier = step - np.floor(step)
    reach = np.clip(down, 0, 1) * (0.62 + 0.38 * tier)
    mask = np.clip((reach - np.abs(across)) * half * c.unit_px + 0.5, 0, 1)
    mask = mask * (down > 0) * smoothstep(1.0, 0.97, down)
    side = 1 + 0.22 * np.clip(across * lit_from * 1.5, -1, 1)
    color = np.broadcast_to(needles, (*mask.shape, 3))
    if snow is not None:
        # Snow lies on the upper side of each tier and leaves its underside dark.
        load = smoothstep(0.95, 0.45, tier) * smoothstep(0.1, 0.45, tier + 0.4 * np.abs(across))
        color = mix(color.astype(np.float32), np.broadcast_to(snow, color.shape), load * 0.85)
    color = np.clip(color * side[..., None], 0, 1).astype(np.float32)
    image[where] = mix(image[where], color, mask.astype(np.float32))


def draw_tree_line(
    c: Canvas,
    rng: np.random.Generator,
    image: Array,
    ridge: Array,
    height: float,
    needles: Array,
    snow: Array | None = None,
    *,
    lit_from: float = 1.0,
    cover: float = 1.0,
) -> None:
    """Paints a row of firs in place along a ridge.

    Args:
        c: the canvas.
        rng: the picture's generator.
        image: (H, W, 3), written to.
        ridge: (1, W) y of the ground under them.
        height: of a usual tree, in units.
        needles: (3,) colour of the branches.
        snow: (3,) colour of what lies on them; None leaves them bare.
        lit_from: side of the light.
        cover: share of the width they stand on, in groups.
    """
    count = max(3, int(c.width / (0.23 * height) * cover))
    groups = rng.uniform(0, c.width, max(1, round(3 * cover + 0.5)))
    spots = rng.uniform(0, c.width, count)
    if cover < 0.95:
        spots = rng.choice(groups, count) + rng.normal(0, 0.09, count)
    for x in np.sort(spots):
        column = int(np.clip(x * c.unit_px, 0, c.width_px - 1))
        size = float(height * rng.uniform(0.6, 1.25))
        foot = float(ridge[0, column]) + 0.012
        draw_fir(c, image, float(x), foot, size, needles, snow, lit_from=lit_from)
