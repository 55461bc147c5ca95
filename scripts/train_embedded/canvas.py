"""The drawing surface of the renderer: coordinates, noise and compositing on numpy arrays.

Lengths are in units of sqrt(width * height), so that a feature keeps its size in pixels whatever
the aspect ratio: a square canvas covers 0..1 by 0..1, a 16:9 one about 0..1.33 by 0..0.75.
Images are (H, W, 3) float32, sRGB values in 0..1; masks and heights are (H, W) float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """Coordinates of every pixel of one picture.

    Attributes:
        width_px: pixels across.
        height_px: pixels down.
        width: right end of x, in units.
        height: lower end of y, in units.
        x: (H, W) float32, 0 at the left.
        y: (H, W) float32, 0 at the top.
    """

    width_px: int
    height_px: int
    width: float
    height: float
    x: Array
    y: Array

    @property
    def unit_px(self) -> float:
        """Pixels in one unit of length."""
        return self.height_px / self.height

    def fill(self, color: Array) -> Array:
        """(H, W, 3) of one colour (3,)."""
        return np.broadcast_to(np.asarray(color, np.float32), (self.height_px, self.width_px, 3))

    def vertical(self, top: Array, bottom: Array, *, end: float | None = None) -> Array:
        """Gradient from `top` at y = 0 to `bottom` at y = end (the lower edge by default)."""
        t = np.clip(self.y / (self.height if end is None else end), 0, 1)
        return mix(self.fill(top), self.fill(bottom), t)

    def noise(
        self,
        rng: np.random.Generator,
        scale: float,
        *,
        octaves: int = 5,
        gain: float = 0.5,
        stretch: tuple[float, float] = (1.0, 1.0),
    ) -> Array:
        """Fractal value noise with mean 0 and variance 1 over the picture.

        Args:
            rng: the picture's generator.
            scale: features per unit in the lowest octave; each further one doubles it.
            octaves: number of octaves; those finer than two pixels are left out.
            gain: amplitude of each octave over the last: 0.5 is smooth, 0.8 is rough.
            stretch: (x, y) factors on the features' size: (6, 0.5) gives long flat streaks.
        """
        total = np.zeros((self.height_px, self.width_px), np.float32)
        amplitude = 1.0
        for octave in range(octaves):
            frequency = scale * 2**octave
            columns = int(np.ceil(self.width * frequency / stretch[0])) + 3
            rows = int(np.ceil(self.height * frequency / stretch[1])) + 3
            if columns > self.width_px * 1.5 or rows > self.height_px * 1.5:
                break
            grid = rng.standard_normal((rows, columns)).astype(np.float32)
            box = (
                1.0,
                1.0,
                1.0 + self.width * frequency / stretch[0],
                1.0 + self.height * frequency / stretch[1],
            )
            total += amplitude * np.asarray(
                Image.fromarray(grid).resize(
                    (self.width_px, self.height_px), Image.Resampling.BICUBIC, box=box
                )
            )
            amplitude *= gain
        total -= total.mean()
        return total / np.float32(total.std() + 1e-6)

    def line_noise(
        self, rng: np.random.Generator, scale: float, *, octaves: int = 5, gain: float = 0.5
    ) -> Array:
        """Noise along x only, (1, W), for ridges, shores and skylines."""
        total = np.zeros(self.width_px, np.float32)
        power, amplitude = 0.0, 1.0
        x = self.x[0]
        for octave in range(octaves):
            frequency = scale * 2**octave
            knots = rng.standard_normal(int(np.ceil(self.width * frequency)) + 4)
            position = x * frequency + rng.random()
            total += amplitude * ndimage.map_coordinates(knots, [position], order=3, mode="nearest")
            power += amplitude**2
            amplitude *= gain
        return (total / np.float32(np.sqrt(power)))[None, :].astype(np.float32)

    def blur(self, image: Array, sigma: float) -> Array:
        """Gaussian blur of an image or mask; `sigma` in units."""
        return blur_px(image, sigma * self.unit_px)

    def distance(self, x: float, y: float) -> Array:
        """Distance of every pixel from a point, in units."""
        return np.hypot(self.x - np.float32(x), self.y - np.float32(y))

    def window(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
        """Rows and columns of the pixels in a box, widened by one and cut at the edges."""
        rows = (int(top * self.unit_px) - 1, int(np.ceil(bottom * self.unit_px)) + 1)
        columns = (int(left * self.unit_px) - 1, int(np.ceil(right * self.unit_px)) + 1)
        return (
            slice(max(0, rows[0]), max(0, min(self.height_px, rows[1]))),
            slice(max(0, columns[0]), max(0, min(self.width_px, columns[1]))),
        )

    def aa(self, signed_distance: Array) -> Array:
        """Antialiased coverage of the region where `signed_distance` (units) is below 0."""
        return np.clip(0.5 - signed_distance * np.float32(self.unit_px), 0, 1)


@lru_cache(maxsize=16)
def canvas(width_px: int, height_px: int) -> Canvas:
    """The canvas of that many pixels; shared, so never write into its arrays."""
    unit_px = float(np.sqrt(width_px * height_px))
    x = (np.arange(width_px, dtype=np.float32) + 0.5) / np.float32(unit_px)
    y = (np.arange(height_px, dtype=np.float32) + 0.5) / np.float32(unit_px)
    grid_x, grid_y = np.meshgrid(x, y)
    grid_x.flags.writeable = False
    grid_y.flags.writeable = False
    return Canvas(width_px, height_px, width_px / unit_px, height_px / unit_px, grid_x, grid_y)


def blur_px(image: Array, sigma_px: float) -> Array:
    """Gaussian blur; wide ones run on a reduced copy, which no eye can tell."""
    if sigma_px <= 0.05:
        return image
    sigmas = (sigma_px, sigma_px, 0.0)[: image.ndim]
    if sigma_px < 6:
        return ndimage.gaussian_filter(image, sigmas, mode="nearest", truncate=3.0)
    factor = int(sigma_px // 2)
    height, width = image.shape[:2]
    small = (max(4, width // factor), max(4, height // factor))
    reduced = _resize(image, small, Image.Resampling.BOX)
    scaled = (sigma_px * small[1] / height, sigma_px * small[0] / width, 0.0)[: image.ndim]
    blurred = ndimage.gaussian_filter(reduced, scaled, mode="nearest", truncate=3.0)
    return _resize(blurred, (width, height), Image.Resampling.BICUBIC)


def _resize(image: Array, size: tuple[int, int], filter_: Image.Resampling) -> Array:
    """Float resize of (H, W) or (H, W, C) to (width, height)."""
    if image.ndim == 2:
        return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, filter_))
    planes = [_resize(image[..., c], size, filter_) for c in range(image.shape[2])]
    return np.stack(planes, axis=-1)


def fit(image: Array, c: Canvas) -> Array:
    """`image`, drawn on a smaller canvas of the same shape, enlarged to the size of `c`."""
    return _resize(image, (c.width_px, c.height_px), Image.Resampling.BICUBIC)


def smoothstep(start: float | Array, end: float | Array, value: Array) -> Array:
    """0 at `start`, 1 at `end` (which may lie below `start`), smooth between."""
    t = np.clip((value - start) / (np.asarray(end, np.float32) - start), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def mix(below: Array, above: Array, amount: Array | float) -> Array:
    """`below` where amount is 0, `above` where it is 1; a mask of (H, W) covers all channels."""
    if isinstance(amount, np.ndarray) and amount.ndim == 2 and below.ndim == 3:
        amount = amount[..., None]
    return (below + (above - below) * amount).astype(np.float32)


def sample(texture: Array, u: Array, v: Array) -> Array:
    """Bilinear lookup of a texture (h, w) or (h, w, C) at u, v in 0..1, mirrored outside."""
    height, width = texture.shape[:2]
    where = [v * (height - 1), u * (width - 1)]
    if texture.ndim == 2:
        return ndimage.map_coordinates(texture, where, order=1, mode="mirror")
    planes = [
        ndimage.map_coordinates(texture[..., c], where, order=1, mode="mirror")
        for c in range(texture.shape[2])
    ]
    return np.stack(planes, axis=-1)


def ground_plane(c: Canvas, horizon: float, camera_height: float = 0.5) -> tuple[Array, Array]:
    """Coordinates on a flat ground seen in perspective.

    Args:
        c: the canvas.
        horizon: y of the horizon, in units.
        camera_height: how far up the eye is: larger spreads the ground's features less.

    Returns:
        across and away, each (H, W): 0 is straight ahead and at the picture's lower edge `away`
        is about `camera_height`; it grows without bound towards the horizon (clipped at 40).
    """
    below = np.maximum(c.y - horizon, 1e-3)
    away = np.minimum(camera_height * (c.height - horizon) / below, 40.0)
    across = (c.x - c.width / 2) * away / camera_height
    return across.astype(np.float32), away.astype(np.float32)
