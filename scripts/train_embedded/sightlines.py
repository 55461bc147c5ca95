"""Rolling ground in true perspective: heights on a fan of sight lines, seen over their crests.

The world's unit is the height of the camera above flat ground. A `Fan` holds one sight line per
pixel column; heights are evaluated on it once and then hidden behind nearer crests by a running
minimum, which costs less than one blur.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.train_embedded.canvas import Array, Canvas, smoothstep

FOCAL_LENGTH = 1.1


@dataclass(frozen=True, slots=True, eq=False)
class Fan:
    """Places on the ground along each column's sight line, near to far.

    Attributes:
        across: (N, W), to the right of the picture's middle.
        away: (N, 1) from the camera, spaced geometrically.
        growth: log of the ratio of neighbouring `away`.
        horizon: y of the horizon, in units.
    """

    across: Array
    away: Array
    growth: float
    horizon: float


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """The relief on a fan.

    Attributes:
        heights: (N, W).
        slope_across: (N, W) dh/dx.
        slope_away: (N, W) dh/dz.
    """

    heights: Array
    slope_across: Array
    slope_away: Array


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Which place of a fan each pixel shows.

    Attributes:
        coverage: (H, W) 1 on the ground, 0 in the sky.
        index: (H, W) rows of the fan.
        fraction: (H, W) towards the next row.
    """

    coverage: Array
    index: NDArray[np.int64]
    fraction: Array

    def look_up(self, values: Array) -> Array:
        """(H, W) of what (N, W) or (N, 1) values are at each pixel."""
        values = np.broadcast_to(values, (values.shape[0], self.index.shape[1]))
        below = np.take_along_axis(values, self.index, axis=0)
        above = np.take_along_axis(values, self.index + 1, axis=0)
        return (below + (above - below) * self.fraction).astype(np.float32)


def sight_lines(c: Canvas, horizon: float, *, far: float = 40.0, steps: int = 300) -> Fan:
    """The fan of a level camera; it starts a little below the picture's lower edge."""
    near = FOCAL_LENGTH / (c.height - horizon) * 0.7
    growth = float(np.log(far / near)) / (steps - 1)
    away = (near * np.exp(growth * np.arange(steps)))[:, None].astype(np.float32)
    across = (c.x[0] - np.float32(c.width / 2))[None, :] * away / np.float32(FOCAL_LENGTH)
    return Fan(across, away, growth, horizon)


def relief(c: Canvas, fan: Fan, heights: Array) -> Surface:
    """Heights with their slopes in world coordinates."""
    by_step, by_column = np.gradient(heights)
    slope_across = by_column * np.float32(FOCAL_LENGTH * c.unit_px) / fan.away
    slope_away = (by_step / np.float32(fan.growth) - slope_across * fan.across) / fan.away
    return Surface(heights, slope_across, slope_away)


def look(c: Canvas, fan: Fan, heights: Array) -> View:
    """Hides what lies behind nearer crests."""
    raw = (fan.horizon + FOCAL_LENGTH * (1 - heights) / fan.away) * np.float32(c.unit_px)
    edge = np.minimum.accumulate(raw, axis=0)
    steps, columns = edge.shape
    bins = np.clip(np.ceil(edge - 0.5), 0, c.height_px).astype(np.int64)
    flat = bins * columns + np.arange(columns)
    counts = np.bincount(flat.ravel(), minlength=(c.height_px + 1) * columns)
    counts = counts.reshape(c.height_px + 1, columns)[::-1].cumsum(axis=0)[::-1][1:]
    index = np.clip(counts - 1, 0, steps - 2)
    rows = (np.arange(c.height_px, dtype=np.float32) + 0.5)[:, None]
    below = np.take_along_axis(edge, index, axis=0)
    above = np.take_along_axis(edge, index + 1, axis=0)
    fraction = np.clip((below - rows) / np.maximum(below - above, 1e-4), 0, 1)
    # Between a crest and the next place seen over it, only the latter may colour a pixel: what
    # lies right behind the crest is turned away from the camera.
    hidden = raw > edge
    emerging = np.take_along_axis(hidden, index, axis=0)
    crest = np.take_along_axis(hidden, index + 1, axis=0) & ~emerging
    index = np.where(crest, np.maximum(index - 1, 0), index)
    fraction = np.where(crest, 0.0, np.where(emerging, 1.0, fraction))
    coverage = np.clip(rows + 0.5 - edge[-1], 0, 1)
    return View(coverage.astype(np.float32), index, fraction.astype(np.float32))


def sunlit(surface: Surface, azimuth: float, elevation: float) -> Array:
    """(N, W) Lambert's cosine, 1 on flat ground, more on slopes that face the light."""
    angle = _sun_angle(elevation)
    side = float(np.clip(azimuth, -1, 1))
    # The camera never looks straight into the light, so what remains comes from behind it.
    light = np.array([side, 0.0, -0.6 * np.sqrt(1 - side**2)])
    light = (light / np.linalg.norm(light) * np.cos(angle)).astype(np.float32)
    normal_length = np.sqrt(1 + surface.slope_across**2 + surface.slope_away**2)
    rise = np.float32(np.sin(angle))
    cosine = rise - surface.slope_across * light[0] - surface.slope_away * light[2]
    return np.maximum(cosine / normal_length / rise, 0)


def cast_shadows(
    fan: Fan, surface: Surface, azimuth: float, elevation: float, softness: float = 0.1
) -> Array:
    """(N, W) 1 where a crest further along the picture's row keeps the side light away."""
    towards = np.float32(np.sign(azimuth) * np.tan(_sun_angle(elevation)))
    ray = surface.heights - towards * fan.across
    # Each ray grazes the highest crest between its place and the sun.
    to_sun = slice(None, None, -1) if azimuth > 0 else slice(None)
    blocked = np.maximum.accumulate(ray[:, to_sun], axis=1)[:, to_sun]
    return smoothstep(0.02, 0.02 + softness, blocked - ray)


def _sun_angle(elevation: float) -> float:
    """Radians above the horizon; never so low that everything is shadow."""
    return float(np.radians(np.clip(12 + 60 * elevation, 12, 65)))
