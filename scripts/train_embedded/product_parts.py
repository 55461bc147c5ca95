"""Solids that drawn products are put together from: flat, cushioned, round and long ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from scripts.train_embedded.canvas import Array
from scripts.train_embedded.product_easel import (
    Bounds,
    Easel,
    Part,
    Point,
    View,
    bounds_of,
    closed_curve,
    open_curve,
    projected,
)
from scripts.train_embedded.product_shading import Paint

_SUPERSAMPLING = 3  # of polygons, which Pillow draws without antialiasing


@dataclass(frozen=True, slots=True, eq=False)
class Quad:
    """A flat parallelogram.

    Attributes:
        corner: its lower left corner.
        across: edge to the lower right corner.
        up: edge to the upper left corner.
        paint: of it.
    """

    corner: Point
    across: Point
    up: Point
    paint: Paint

    def bounds(self, view: View) -> Bounds:
        """See Part."""
        return bounds_of(projected(view, self._corners()))

    def ground(self, view: View) -> float | None:
        """See Part."""
        touching = [view.project(p)[1] for p in self._corners() if p[1] < 0.03]
        return max(touching) if touching else None

    def _corners(self) -> list[Point]:
        across = _add(self.corner, self.across)
        return [self.corner, across, _add(across, self.up), _add(self.corner, self.up)]

    def paint_on(self, easel: Easel) -> None:
        """See Part."""
        window = easel.window(self.bounds(easel.view))
        u, v = easel.coordinates(window)
        u0, v0 = easel.view.project(self.corner)
        a, b = easel.view.turn(self.across), easel.view.turn(self.up)
        area = a[0] * b[1] - a[1] * b[0]
        if abs(area) < 1e-6:
            return
        du, dv = u - np.float32(u0), v - np.float32(v0)
        s = (du * np.float32(b[1]) - dv * np.float32(b[0])) / np.float32(area)
        t = (dv * np.float32(a[0]) - du * np.float32(a[1])) / np.float32(area)
        wide = abs(area) / np.hypot(b[0], b[1])
        tall = abs(area) / np.hypot(a[0], a[1])
        outside = np.maximum((np.abs(s - 0.5) - 0.5) * wide, (np.abs(t - 0.5) - 0.5) * tall)
        direction = np.cross(a, b)
        direction = direction / np.linalg.norm(direction) * np.sign(direction[2] or 1)
        # A flat face is never lit quite evenly: let the normal lean over its width and height.
        lean_x, lean_y = (s - 0.5) * 0.16, (t - 0.5) * 0.16
        normal = _unit(
            np.float32(direction[0]) + lean_x,
            np.float32(direction[1]) + lean_y,
            np.full_like(s, direction[2]),
        )
        easel.lay(window, easel.coverage(outside), self.paint, (2 * s - 1, t), normal)


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """A flat outline facing the camera, puffed up like a cushion.

    Attributes:
        outline: (u, v) corners or, if smooth, points on its curve.
        paint: of it.
        bulge: 0 flat, 1 as round as it is wide.
        smooth: whether the outline is a curve through the points.
        hole: whether it is cut out of what is there instead.
    """

    outline: tuple[tuple[float, float], ...]
    paint: Paint
    bulge: float = 0.5
    smooth: bool = True
    hole: bool = False

    def _curve(self) -> Array:
        points = np.array(self.outline, np.float32)
        return closed_curve(points) if self.smooth else points

    def bounds(self, view: View) -> Bounds:  # noqa: ARG002 it faces the camera from everywhere
        """See Part."""
        return bounds_of(self._curve())

    def ground(self, view: View) -> float | None:  # noqa: ARG002
        """See Part."""
        return None

    def paint_on(self, easel: Easel) -> None:
        """See Part."""
        curve = self._curve()
        bounds = bounds_of(curve)
        if min(bounds[2] - bounds[0], bounds[3] - bounds[1]) < easel.pixel:
            return  # seen edge-on
        window = easel.window(bounds, margin_px=4)
        u, v = easel.coordinates(window)
        if min(u.shape) < 4:
            return  # all but a sliver lies beyond the picture's edge
        columns, rows = easel.to_px(curve[:, 0], curve[:, 1])
        mask = _polygon(columns - window[1].start, rows - window[0].start, u.shape)
        if self.hole:
            easel.erase(window, mask)
            return
        left, low, right, high = bounds
        nx, ny, nz = _cushion(mask, self.bulge)
        cos, sin = np.cos(easel.tilt), np.sin(easel.tilt)
        normal = (nx * np.float32(cos) + ny * np.float32(sin), ny * cos - nx * sin, nz)
        surface = (2 * (u - left) / (right - left) - 1, (v - low) / (high - low))
        easel.lay(window, mask, self.paint, surface, tuple(n.astype(np.float32) for n in normal))


@dataclass(frozen=True, slots=True, eq=False)
class Ball:
    """An ellipsoid, or a disc facing the camera.

    Attributes:
        center: of it.
        radii: half its width and half its height.
        paint: of it.
        angle: radians it is turned counterclockwise.
        flat: 0 a ball, 1 a disc.
    """

    center: Point
    radii: tuple[float, float]
    paint: Paint
    angle: float = 0.0
    flat: float = 0.0

    def bounds(self, view: View) -> Bounds:
        """See Part."""
        u, v = view.project(self.center)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        wide = np.hypot(self.radii[0] * cos, self.radii[1] * sin)
        tall = np.hypot(self.radii[0] * sin, self.radii[1] * cos)
        return u - wide, v - tall, u + wide, v + tall

    def ground(self, view: View) -> float | None:  # noqa: ARG002
        """See Part."""
        return None

    def paint_on(self, easel: Easel) -> None:
        """See Part."""
        window = easel.window(self.bounds(easel.view))
        u, v = easel.coordinates(window)
        u0, v0 = easel.view.project(self.center)
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        du, dv = u - np.float32(u0), v - np.float32(v0)
        s = (du * cos + dv * sin) / np.float32(self.radii[0])
        t = (dv * cos - du * sin) / np.float32(self.radii[1])
        ring = np.hypot(s, t)
        round_ = np.float32(1 - self.flat) * np.minimum(1, 0.995 / np.maximum(ring, 1e-3))
        a, b = s * round_, t * round_
        normal = (a * cos - b * sin, b * cos + a * sin, np.sqrt(np.maximum(1 - a * a - b * b, 0)))
        mask = easel.coverage((ring - 1) * np.float32(min(self.radii)))
        easel.lay(window, mask, self.paint, (s, (t + 1) / 2), normal)


@dataclass(frozen=True, slots=True, eq=False)
class Rod:
    """A round bar along a path: handles, legs, straps, stems, rings.

    Attributes:
        path: points it goes through.
        radius: at its start.
        paint: of it.
        end_radius: at its end; the same as at the start by default.
        smooth: whether the path is a curve through the points.
    """

    path: tuple[Point, ...]
    radius: float
    paint: Paint
    end_radius: float | None = None
    smooth: bool = True

    def _curve(self, view: View) -> Array:
        points = projected(view, list(self.path))
        if not self.smooth or len(points) < 3:
            return points
        if self.path[0] == self.path[-1]:
            curve = closed_curve(points[:-1], steps=4)
            return np.concatenate((curve, curve[:1]))
        return open_curve(points)

    def bounds(self, view: View) -> Bounds:
        """See Part."""
        left, low, right, high = bounds_of(self._curve(view))
        thick = max(self.radius, self.end_radius or 0)
        return left - thick, low - thick, right + thick, high + thick

    def ground(self, view: View) -> float | None:
        """See Part."""
        touching = [view.project(p)[1] for p in self.path if p[1] < 0.03]
        return max(touching) if touching else None

    def paint_on(self, easel: Easel) -> None:
        """See Part."""
        curve = self._curve(easel.view)
        window = easel.window(self.bounds(easel.view))
        u, v = easel.coordinates(window)
        end = self.radius if self.end_radius is None else self.end_radius
        radii = np.linspace(self.radius, end, len(curve), dtype=np.float32)
        # A line thinner than a pixel would break up.
        radii = np.maximum(radii, np.float32(0.6 * easel.pixel))
        nearest = np.full_like(u, np.inf)
        nx, ny, along_all = np.zeros_like(u), np.zeros_like(u), np.zeros_like(u)
        for k in range(len(curve) - 1):
            du, dv = (curve[k + 1] - curve[k]).astype(np.float32)
            pu, pv = u - curve[k, 0], v - curve[k, 1]
            along = np.clip((pu * du + pv * dv) / (du * du + dv * dv + 1e-9), 0, 1)
            radius = radii[k] + (radii[k + 1] - radii[k]) * along
            off_u, off_v = (pu - along * du) / radius, (pv - along * dv) / radius
            outside = (np.hypot(off_u, off_v) - 1) * radius
            closer = outside < nearest
            nearest = np.where(closer, outside, nearest)
            nx, ny = np.where(closer, off_u, nx), np.where(closer, off_v, ny)
            along_all = np.where(closer, (k + along) / (len(curve) - 1), along_all)
        size = np.maximum(np.hypot(nx, ny), 1.0)
        nx, ny = nx / size * 0.98, ny / size * 0.98
        normal = (nx, ny, np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0)))
        easel.lay(window, easel.coverage(nearest), self.paint, (nx, along_all), normal)


def box(
    low: Point, size: Point, paint: Paint, view: View, *, top: Paint | None = None
) -> list[Part]:
    """The two or three faces of an upright box that are seen; `low` is its least corner."""
    (x, y, z), (w, h, d) = low, size
    faces: list[Part] = []
    side = paint.plain()
    if view.pitch > 0:
        faces.append(Quad((x, y + h, z + d), (w, 0, 0), (0, 0, -d), top or side))
    if view.turn((1, 0, 0))[2] > 0.01:
        faces.append(Quad((x + w, y, z + d), (0, 0, -d), (0, h, 0), side))
    elif view.turn((-1, 0, 0))[2] > 0.01:
        faces.append(Quad((x, y, z), (0, 0, d), (0, h, 0), side))
    front = view.turn((0, 0, 1))[2] > 0
    corner, edge = ((x, y, z + d), (w, 0, 0)) if front else ((x + w, y, z), (-w, 0, 0))
    faces.append(Quad(corner, edge, (0, h, 0), paint))
    return faces


def _add(point: Point, vector: Point) -> Point:
    return point[0] + vector[0], point[1] + vector[1], point[2] + vector[2]


def _unit(x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
    length = np.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


def _polygon(columns: Array, rows: Array, shape: tuple[int, int]) -> Array:
    """Antialiased coverage of a polygon given in pixels."""
    height, width = shape
    k = _SUPERSAMPLING
    image = Image.new("L", (width * k, height * k))
    # Pixel centres of the easel are at whole numbers.
    corners = np.stack((columns + 0.5, rows + 0.5), axis=1) * k
    ImageDraw.Draw(image).polygon([tuple(corner) for corner in corners.tolist()], fill=255)
    return np.asarray(image.reduce(k), np.float32) / np.float32(255)


def _cushion(mask: Array, bulge: float) -> tuple[Array, Array, Array]:
    """Unit normals of a mask puffed up: they lean outwards near its edge, y up."""
    height, width = mask.shape
    factor = 2 if min(height, width) > 24 else 1
    reduced = Image.fromarray(mask).reduce(factor)
    sigma = max(1.0, bulge * 0.22 * float(np.sqrt(mask.sum())) / factor)
    puffed = ndimage.gaussian_filter(np.asarray(reduced), sigma, mode="constant", truncate=2.5)
    puffed = puffed + 0.5 * ndimage.gaussian_filter(
        np.asarray(reduced), sigma * 0.4, mode="constant", truncate=2.5
    )
    down, right = np.gradient(puffed)
    planes = []
    for plane in (-right, down):
        image = Image.fromarray((plane * np.float32(sigma * 1.7)).astype(np.float32))
        planes.append(np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)))
    nx, ny = planes
    size = np.hypot(nx, ny)
    keep = 1 / np.maximum(1, size / 0.95)
    nx, ny = nx * keep, ny * keep
    return nx, ny, np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0.05))
