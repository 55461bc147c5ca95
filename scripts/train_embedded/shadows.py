"""Shadows and mirror images of products on the ground they stand or lie on."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from scripts.train_embedded.canvas import Array, Canvas, blur_px, mix, smoothstep
from scripts.train_embedded.light import Light
from scripts.train_embedded.products import Product
from scripts.train_embedded.scene import Ground

Window = tuple[slice, slice]

_FORESHORTENING = 0.34  # of the ground, seen from a standing photographer's height
_LONGEST_SHADOW = 1.7  # in heights of the product


def contact_shadow(c: Canvas, product: Product) -> Array:
    """(H, W, 1) factors: the dark seam where it touches, and the dimness close around it."""
    reach = 0.07
    window = _around(c, product, reach, above=product.foot_depth + reach, below=reach)
    alpha, y = product.alpha[window], c.y[window]
    rise = product.foot_y - y
    band = product.foot_depth + 0.008
    low = smoothstep(1.15 * band + 0.012, 0.6 * band, rise)
    # Lower edges only: what has product above it and none below it.
    step = max(2, round(0.012 * c.unit_px))
    below = np.zeros_like(alpha)
    below[:-step] = alpha[step:]
    edge = alpha * np.clip(1 - below, 0, 1) * low
    seam = blur_px(_moved(edge, max(1, step // 3)), 0.0055 * c.unit_px) * 1.5
    foot = blur_px(_moved(alpha * low, step), 0.018 * c.unit_px) * 1.15
    factor = np.ones((c.height_px, c.width_px, 1), np.float32)
    factor[window][..., 0] = (1 - 0.72 * np.clip(seam, 0, 1)) * (1 - 0.55 * np.clip(foot, 0, 1))
    return factor


def cast_shadow(c: Canvas, product: Product, light: Light, ground: Ground) -> Array:
    """(H, W, 3) factors of the shadow that falls along the ground, away from the light.

    The silhouette is laid over: a point `h` above the foot throws its shadow `h` times the
    shadow's length away, sideways by the light's azimuth and for the rest away from the camera.
    """
    sideways, away = _shadow_lengths(product, light, ground)
    height = product.height
    spread = 0.03 + 0.1 * light.softness * height
    left, right = sorted((0.0, sideways * height))
    window = _window(
        c,
        product.center_x - product.half_width + left - spread,
        product.center_x + product.half_width + right + spread,
        product.foot_y - product.foot_depth - max(away, 0) * height - spread,
        product.foot_y + max(-away, 0) * height + spread,
    )
    x, y = c.x[window], c.y[window]
    # The middle of the foot is where the fold is.
    fold = product.foot_y - product.foot_depth / 2
    rise = (fold - y) / np.float32(away)
    columns = (x - np.float32(sideways) * rise) * np.float32(c.unit_px) - 0.5
    rows = (np.float32(fold) - rise) * np.float32(c.unit_px) - 0.5
    mask = ndimage.map_coordinates(product.alpha, [rows, columns], order=1, cval=0.0)
    mask = mask * (rise > -product.foot_depth / 2 / abs(away))
    mask = _thickened(mask, c, product)
    near = blur_px(mask, (0.003 + 0.008 * light.softness) * c.unit_px)
    far = blur_px(mask, (0.006 + 0.045 * light.softness * height) * c.unit_px)
    share = np.clip(rise / np.float32(height), 0, 1)
    density = mix(near, far, smoothstep(0.0, 0.6, share))
    density = density * (1 - (0.15 + 0.3 * light.softness) * share)
    density = density * _on_ground(x, y, product, ground)
    factor = np.ones((c.height_px, c.width_px, 3), np.float32)
    factor[window] = 1 - density[..., None] * (1 - _shadow_color(light))
    return factor


def drop_shadow(c: Canvas, product: Product, light: Light) -> Array:
    """(H, W, 3) factors of the shadow beside a thing that lies on a surface seen from above."""
    window = _around(c, product, 0.16, above=product.height + 0.16, below=0.16)
    alpha = product.alpha[window]
    thickness = 0.02 + 0.1 * min(product.half_width * 2, product.height)
    length = thickness * float(np.clip(0.8 / np.tan(0.2 + light.elevation), 0.7, 1.6))
    across = -np.sign(light.azimuth or 1) * (0.35 + 0.65 * abs(light.azimuth)) * length
    shifts = (0.45 * length * c.unit_px, across * c.unit_px)
    moved = _shifted(alpha, shifts)
    half = _shifted(alpha, (shifts[0] / 2, shifts[1] / 2))
    body = np.maximum(blur_px(half, 0.3 * thickness * c.unit_px), blur_px(
        moved, (0.004 + 0.6 * light.softness * thickness) * c.unit_px))  # fmt: skip
    around = blur_px(alpha, 0.011 * c.unit_px)
    factor = np.ones((c.height_px, c.width_px, 3), np.float32)
    shaded = 1 - body[..., None] * (1 - _shadow_color(light))
    factor[window] = shaded * (1 - 0.45 * around[..., None])
    return factor


def reflect(c: Canvas, image: Array, product: Product, ground: Ground) -> Array:
    """The background with the product's mirror image below its foot."""
    length = min(0.9 * product.height, 0.12 + 0.4 * ground.gloss)
    window = _around(c, product, 0.04, above=product.foot_depth + 0.02, below=length)
    rows, columns = window
    alpha = product.alpha[:, columns]
    # Every column is mirrored about its own lowest point, so that edges that run back on the
    # ground meet their images.
    highest = round((product.foot_y - product.foot_depth - 0.006) * c.unit_px)
    foot_row = min(round(product.foot_y * c.unit_px), c.height_px)
    covered = alpha[: max(foot_row + 1, 1)] > 0.5
    lowest = covered.shape[0] - 1 - np.argmax(covered[::-1], axis=0)
    lowest = np.where(covered.any(axis=0), np.maximum(lowest, highest), foot_row)
    row = np.arange(rows.start, rows.stop)[:, None]
    below = row - lowest[None, :]
    source = np.clip(lowest[None, :] - below, 0, c.height_px - 1)
    seen = np.take_along_axis(alpha, source, axis=0) * (below >= 0)
    color = np.take_along_axis(product.color[:, columns], source[..., None], axis=0)
    premultiplied = np.concatenate((color * seen[..., None], seen[..., None]), axis=2)
    sharp = blur_px(premultiplied, (0.0015 + 0.008 * ground.roughness) * c.unit_px)
    soft = blur_px(premultiplied, (0.003 + 0.035 * ground.roughness) * c.unit_px)
    distance = np.clip(below / np.float32(length * c.unit_px), 0, 1).astype(np.float32)
    mirrored = mix(sharp, soft, np.sqrt(distance))
    strength = np.float32(min(0.85, 0.12 + 0.75 * ground.gloss)) * (1 - distance) ** 1.4
    if ground.near - ground.far < 0.12:  # a podium or a shelf: its edge cuts the image off
        strength = strength * smoothstep(ground.near + 0.03, ground.near + 0.01, c.y[window])
    result = np.array(image, np.float32)
    cover = mirrored[..., 3:] * strength[..., None]
    shown = mirrored[..., :3] / np.maximum(mirrored[..., 3:], 1e-3)
    result[window] = mix(result[window], shown, cover)
    return result


def _shadow_lengths(product: Product, light: Light, ground: Ground) -> tuple[float, float]:
    """Sideways and up the picture, for each unit of height."""
    length = np.clip(0.9 / np.tan(0.12 + 1.2 * light.elevation), 0.75, _LONGEST_SHADOW)
    bearing = light.azimuth * 1.25
    # A shadow straight behind the product would not be seen.
    sideways = -np.sign(light.azimuth or 1) * max(abs(np.sin(bearing)), 0.6) * length
    away = max(np.cos(bearing), 0.25) * length * _FORESHORTENING
    # Low suns stand behind the scene: their shadows come towards the camera.
    if light.time_of_day in ("sunrise", "sunset", "dusk"):
        room = ground.near - product.foot_y + 0.06
        return sideways, -max(min(away, room / product.height), 0.03)
    room = product.foot_y - ground.far + 0.05
    return sideways, max(min(away, room / product.height), 0.03)


def _shadow_color(light: Light) -> Array:
    """(3,) what remains of the ground's colour where the light does not fall."""
    kept = np.clip(light.ambient / np.maximum(light.color, 0.05), 0, 0.9)
    # Half of the difference in hue is what a camera's white balance leaves of it.
    kept = 0.5 * kept + 0.5 * kept.mean()
    # Darker than the fill alone would have it: near a product much of that is hidden, too.
    return np.clip(kept ** np.float32(2.8 - 1.1 * light.softness), 0.22, 0.62).astype(np.float32)


def _thickened(mask: Array, c: Canvas, product: Product) -> Array:
    """The flat silhouette's shadow, as deep as the product's foot."""
    depth = max(product.foot_depth, 0.1 * product.half_width)
    size = max(3, round(depth * 0.9 * c.unit_px))
    return np.clip(ndimage.uniform_filter1d(mask, size, axis=0, mode="constant") * 1.7, 0, 1)


def _on_ground(x: Array, y: Array, product: Product, ground: Ground) -> Array:
    """0 beyond a small ground's sides (a podium, a shelf), 1 elsewhere."""
    inside = smoothstep(ground.far - 0.09, ground.far - 0.05, y)
    if ground.right - ground.left < 0.45:
        margin = max(product.half_width, 0.04)
        inside = inside * smoothstep(ground.left - margin - 0.05, ground.left - margin + 0.03, x)
        inside = inside * smoothstep(ground.right + margin + 0.05, ground.right + margin - 0.03, x)
    if ground.near - ground.far < 0.12:
        inside = inside * smoothstep(ground.near + 0.04, ground.near + 0.015, y)
    return inside


def _moved(mask: Array, rows: int) -> Array:
    """The mask some pixels further down."""
    moved = np.zeros_like(mask)
    moved[rows:] = mask[:-rows]
    return moved


def _shifted(mask: Array, shifts: tuple[float, float]) -> Array:
    return ndimage.shift(mask, shifts, order=1, mode="constant", prefilter=False)


def _around(c: Canvas, product: Product, beside: float, *, above: float, below: float) -> Window:
    """Pixels around the product; `above` and `below` are measured from its foot."""
    return _window(
        c,
        product.center_x - product.half_width - beside,
        product.center_x + product.half_width + beside,
        product.foot_y - above,
        product.foot_y + below,
    )


def _window(c: Canvas, left: float, right: float, top: float, bottom: float) -> Window:
    """Pixels between those x and y that are in the picture, at least eight each way."""

    def cut(start: float, end: float, limit: int) -> slice:
        first = int(np.clip(np.floor(start * c.unit_px), 0, limit - 8))
        return slice(first, int(np.clip(np.ceil(end * c.unit_px), first + 8, limit)))

    return cut(top, bottom, c.height_px), cut(left, right, c.width_px)
