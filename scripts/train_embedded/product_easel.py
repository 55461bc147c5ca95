"""The easel products are painted on: views, coordinates, curves and what a part is.

A product stands at the origin of its own space: x right, y up, z towards the camera, about one
unit tall. The view turns it about its upright axis and looks slightly down on it; (u, v) are
the coordinates in the picture, v up. Parts are painted in order, later ones over earlier ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from scripts.train_embedded.canvas import Array, mix
from scripts.train_embedded.product_shading import Lamp, Paint, shade

Point = tuple[float, float, float]
Bounds = tuple[float, float, float, float]  # left, low, right, high in u, v


@dataclass(frozen=True, slots=True)
class View:
    """From where a product is seen: radians about the upright axis, and how far from above."""

    yaw: float
    pitch: float

    def project(self, point: Point) -> tuple[float, float]:
        """(u, v) of a point."""
        u, v, _ = self.turn(point)
        return u, v

    def turn(self, vector: Point) -> Point:
        """A vector in the directions of the picture: right, up, towards the camera."""
        x, y, z = vector
        right = x * np.cos(self.yaw) + z * np.sin(self.yaw)
        nearer = z * np.cos(self.yaw) - x * np.sin(self.yaw)
        up = y * np.cos(self.pitch) - nearer * np.sin(self.pitch)
        return right, up, nearer * np.cos(self.pitch) + y * np.sin(self.pitch)


class Easel:
    """Where parts are painted: coordinates of a piece of the picture and what is on it so far.

    Attributes:
        view: from where the product is seen.
        lamp: its light.
        pixel: side of a pixel in product units.
        premultiplied: (h, w, 3) colour times alpha.
        alpha: (h, w).
    """

    def __init__(
        self, x: Array, y: Array, scale: float, tilt: float, view: View, lamp: Lamp
    ) -> None:
        """Args are x, y: (h, w) from the product's origin, y down, in canvas units; see above."""
        self.view, self.lamp, self.tilt = view, lamp, tilt
        self.pixel = abs(float(x[0, 1] - x[0, 0])) / scale
        self._cos, self._sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
        across, up = x / np.float32(scale), -y / np.float32(scale)
        self._corner = float(across[0, 0]), float(up[0, 0])
        self._u = across * self._cos + up * self._sin
        self._v = up * self._cos - across * self._sin
        self.premultiplied = np.zeros((*x.shape, 3), np.float32)
        self.alpha = np.zeros(x.shape, np.float32)

    def to_px(self, u: Array, v: Array) -> tuple[Array, Array]:
        """Columns and rows of points."""
        across = u * self._cos - v * self._sin
        up = u * self._sin + v * self._cos
        return (across - self._corner[0]) / self.pixel, (self._corner[1] - up) / self.pixel

    def window(self, bounds: Bounds, margin_px: int = 2) -> tuple[slice, slice]:
        """The rows and columns that a part covers."""
        left, low, right, high = bounds
        columns, rows = self.to_px(
            np.array((left, right, right, left)), np.array((low, low, high, high))
        )
        height, width = self.alpha.shape
        top = int(np.clip(rows.min() - margin_px, 0, height - 1))
        start = int(np.clip(columns.min() - margin_px, 0, width - 1))
        bottom = int(np.clip(rows.max() + margin_px + 2, top + 1, height))
        end = int(np.clip(columns.max() + margin_px + 2, start + 1, width))
        return slice(top, bottom), slice(start, end)

    def coordinates(self, window: tuple[slice, slice]) -> tuple[Array, Array]:
        """U and v of every pixel of a window."""
        return self._u[window], self._v[window]

    def coverage(self, signed_distance: Array) -> Array:
        """Antialiased; half a pixel wider than the shape, so that neighbours leave no seam."""
        return np.clip(0.9 - signed_distance / np.float32(self.pixel), 0, 1)

    def lay(
        self,
        window: tuple[slice, slice],
        mask: Array,
        paint: Paint,
        surface: tuple[Array, Array],
        normal: tuple[Array, Array, Array],
    ) -> None:
        """Paints a shaded part over what is there."""
        color = shade(paint, *surface, normal, self.lamp)
        self.premultiplied[window] = mix(self.premultiplied[window], color, mask)
        self.alpha[window] += (1 - self.alpha[window]) * mask

    def erase(self, window: tuple[slice, slice], mask: Array) -> None:
        """Cuts a hole."""
        self.premultiplied[window] *= (1 - mask)[..., None]
        self.alpha[window] *= 1 - mask


class Part(Protocol):
    """One solid of a product."""

    def bounds(self, view: View) -> Bounds:
        """What it covers in the picture."""

    def ground(self, view: View) -> float | None:
        """Largest v at which it touches the ground; None if it hangs or rests on its lowest."""

    def paint_on(self, easel: Easel) -> None:
        """Paints it."""


def closed_curve(points: Array, steps: int = 8) -> Array:
    """A Catmull-Rom curve through points and back to the first."""
    before, after = np.roll(points, 1, 0), np.roll(points, -1, 0)
    return _spline(before, points, after, np.roll(points, -2, 0), steps)


def open_curve(points: Array, steps: int = 5) -> Array:
    """A Catmull-Rom curve through points."""
    padded = np.concatenate((2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]))
    curve = _spline(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], steps)
    return np.concatenate((curve, points[-1:]))


def _spline(p0: Array, p1: Array, p2: Array, p3: Array, steps: int) -> Array:
    t = np.arange(steps, dtype=np.float32)[None, :, None] / steps
    p0, p1, p2, p3 = (p[:, None, :] for p in (p0, p1, p2, p3))
    curve = 0.5 * (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    return curve.reshape(-1, 2).astype(np.float32)


def projected(view: View, points: list[Point]) -> Array:
    """(N, 2) of the points in the picture."""
    return np.array([view.project(point) for point in points], np.float32)


def bounds_of(points: Array) -> Bounds:
    """The upright rectangle around points (N, 2)."""
    (left, low), (right, high) = points.min(0).tolist(), points.max(0).tolist()
    return left, low, right, high
