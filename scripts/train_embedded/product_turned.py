"""Bodies of revolution, as a lathe or a potter makes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.interpolate import PchipInterpolator

from scripts.train_embedded.canvas import Array
from scripts.train_embedded.product_easel import Bounds, Easel, Point, View
from scripts.train_embedded.product_shading import Paint

Profile = tuple[tuple[float, float], ...]  # (height, radius), upwards

_PROFILE_STEPS = 400


@lru_cache(maxsize=512)
def _radii(profile: Profile) -> tuple[Array, Array]:
    """Radius and slope of a profile at evenly spaced heights, rounded where its knots are far."""
    heights, radii = np.array(profile, np.float64).T
    at = np.linspace(heights[0], heights[-1], _PROFILE_STEPS)
    radius = np.maximum(PchipInterpolator(heights, radii)(at), 1e-4)
    slope = np.gradient(radius, at)
    return radius.astype(np.float32), np.clip(slope, -6, 6).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Turned:
    """A body of revolution about an upright axis.

    Attributes:
        profile: heights and radii.
        paint: of the outside.
        base: where its axis meets height 0 of the profile.
        inside: paint of what an open vessel shows from above; None for a closed top.
        oval: depth over width.
    """

    profile: Profile
    paint: Paint
    base: Point = (0.0, 0.0, 0.0)
    inside: Paint | None = None
    oval: float = 1.0

    def bounds(self, view: View) -> Bounds:
        """See Part."""
        u, v = view.project(self.base)
        depth = np.sin(view.pitch) * self.oval
        widest = self._widest()
        low = min(height - depth * radius for height, radius in self.profile)
        high = max(height + depth * radius for height, radius in self.profile[-1:])
        return u - widest, v + low, u + widest, v + max(high, self.profile[-1][0])

    def ground(self, view: View) -> float | None:
        """See Part."""
        if self.base[1] + self.profile[0][0] > 0.03:
            return None
        height, radius = self.profile[0]
        return view.project(self.base)[1] + height + np.sin(view.pitch) * self.oval * radius

    def _widest(self) -> float:
        return max(radius for _, radius in self.profile)

    def paint_on(self, easel: Easel) -> None:
        """See Part."""
        window = easel.window(self.bounds(easel.view))
        u, v = easel.coordinates(window)
        u0, v0 = easel.view.project(self.base)
        u, v = u - np.float32(u0), v - np.float32(v0)
        low, top = self.profile[0][0], self.profile[-1][0]
        radius_at, slope_at = _radii(self.profile)
        depth = np.float32(np.sin(easel.view.pitch) * self.oval)

        def look_up(table: Array, height: Array) -> Array:
            index = (height - low) * ((_PROFILE_STEPS - 1) / (top - low))
            return table[np.clip(index + 0.5, 0, _PROFILE_STEPS - 1).astype(np.intp)]

        for ledge, width in self._ledges():
            self._paint_disc(easel, window, u, v - np.float32(ledge), width, self.paint.plain())
        height = _visible_ring(u, v, depth, lambda h: look_up(radius_at, h), self._widest())
        radius, slope = look_up(radius_at, height), look_up(slope_at, height)
        outside = (np.abs(u) - radius) / np.sqrt(1 + slope * slope)
        outside = np.maximum(outside, np.maximum(low - height, height - top))
        across = np.clip(u / radius, -1, 1)
        flat = 1 / np.sqrt(1 + slope * slope)
        normal = (across * flat, -slope * flat, np.sqrt(1 - across * across) * flat)
        wrapped = np.arcsin(across) * np.float32(2 / np.pi)
        surface = (wrapped, (height - low) / np.float32(top - low))
        easel.lay(window, easel.coverage(outside), self.paint, surface, normal)
        self._paint_top(easel, window, u, v - np.float32(top), float(radius_at[-1]))

    def _paint_top(
        self, easel: Easel, window: tuple[slice, slice], u: Array, v: Array, radius: float
    ) -> None:
        """The disc that closes it, or the mouth of a vessel."""
        if radius < easel.pixel:
            return
        self._paint_disc(easel, window, u, v, radius, self.paint.plain())
        if self.inside is not None:
            self._paint_disc(easel, window, u, v, radius * 0.9, self.inside, hollow=True)

    def _ledges(self) -> list[tuple[float, float]]:
        """Heights and radii from which it narrows so abruptly that a ledge is seen all around."""
        return [
            (height, radius)
            for (height, radius), (above, narrow) in zip(
                self.profile[:-1], self.profile[1:], strict=True
            )
            if radius - narrow > max(0.03, 4 * (above - height))
        ]

    def _paint_disc(
        self,
        easel: Easel,
        window: tuple[slice, slice],
        u: Array,
        v: Array,
        radius: float,
        paint: Paint,
        *,
        hollow: bool = False,
    ) -> None:
        """A level disc seen from above; a hollow one is a mouth that shows its inner wall."""
        depth = max(np.sin(easel.view.pitch) * self.oval, 1e-3)
        rings = np.hypot(u, v / np.float32(depth))
        cover = easel.coverage((rings - radius) * np.float32(max(depth, 0.3)))
        normal = (np.zeros_like(u), np.full_like(u, 0.96), np.full_like(u, 0.28))
        if hollow:
            # The inner wall is lit on the side away from the light.
            across = np.clip(-u / np.float32(radius), -1, 1) * 0.8
            normal = (across, np.full_like(u, 0.2), np.sqrt(0.96 - across * across))
        easel.lay(window, cover, paint, (u / np.float32(radius), np.full_like(u, 0.999)), normal)


def _visible_ring(
    u: Array, v: Array, depth: np.float32, radius_at: Callable[[Array], Array], widest: float
) -> Array:
    """Height of the ring whose front is seen at each pixel; v itself where there is none.

    The front of a ring lies lower in the picture than its centre. The highest such ring hides the
    others; it is looked for downwards and then by halving, as Newton's method fails on rims.
    """

    def below_front(height: Array) -> Array:
        front = np.sqrt(np.maximum(radius_at(height) ** 2 - u * u, 0))
        return height - depth * front - v

    reach = np.float32(depth * widest)
    low, high = v, v + reach
    found = np.zeros(u.shape, bool)
    for share in (0.83, 0.67, 0.5, 0.33, 0.17):
        height = v + reach * np.float32(share)
        hit = ~found & (below_front(height) <= 0)
        low = np.where(hit, height, low)
        found |= hit
        high = np.where(found, high, height)
    for _ in range(5):
        height = (low + high) / 2
        hit = below_front(height) <= 0
        low, high = np.where(hit, height, low), np.where(hit, high, height)
    return low
