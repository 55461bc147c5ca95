"""Mountain terrain as a height field, seen in perspective from its foot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.train_embedded.canvas import Array, Canvas, canvas, smoothstep

_ROWS = 150


@dataclass(frozen=True, slots=True, eq=False)
class Terrain:
    """What each pixel shows of a mountain range.

    Attributes:
        top: (1, W) y of the skyline.
        row: the first row of pixels that it reaches; the arrays below start there.
        height: (H - row, W) of the visible slope, 0 at the foot, 1 at the highest peak.
        distance: (H - row, W) of the visible slope, 0 at the foot, 1 far behind.
        across: (H - row, W) fall of the slope to the right, about -1..1.
        toward: (H - row, W) fall of the slope towards the eye, about -1..1.
    """

    top: Array
    row: int
    height: Array
    distance: Array
    across: Array
    toward: Array


def massif(c: Canvas, rng: np.random.Generator, *, foot: float, rise: float) -> Terrain:
    """A range whose foot is at y = foot and whose highest peak stands `rise` units above it."""
    field, distance = _heights(c, rng)
    far = distance[:, None]
    shown = field * (1 - 0.25 * far) + 0.10 * far
    shown *= np.float32(rise / float(shown.max()))
    skyline = np.float32(foot) - shown
    near_first = np.minimum.accumulate(skyline, axis=0)
    row = max(int(near_first.min() * c.unit_px) - 1, 0)
    y = c.y[row:]
    upper = _first_visible(y, near_first)
    lower = np.maximum(upper - 1, 0)
    y_upper = np.take_along_axis(skyline, upper, axis=0)
    y_lower = np.take_along_axis(skyline, lower, axis=0)
    part = np.clip((y_lower - y) / np.maximum(y_lower - y_upper, 1e-4), 0, 1)

    def visible(values: Array) -> Array:
        below = np.take_along_axis(values, lower, axis=0)
        return below + (np.take_along_axis(values, upper, axis=0) - below) * part

    down, right = np.gradient(field)
    # A gentle bound: a peak's steepest faces differ no more than its flanks.
    across, toward = np.tanh(-70 * right), np.tanh(45 * down)
    full = np.broadcast_to(far, field.shape)
    return Terrain(
        near_first[-1:], row, visible(field), visible(full), visible(across), visible(toward)
    )


def _heights(c: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """(rows, W) heights in 0..1, the nearest row first, and (rows,) distances in 0..1."""
    plan = canvas(c.width_px, _ROWS)
    per_unit = c.width / plan.width
    total, weight = np.zeros_like(plan.x), np.ones_like(plan.x)
    for octave in range(5):
        scale = 2.3 * per_unit * 2**octave
        noise = plan.noise(rng, scale, octaves=1, stretch=(1.0, 0.62))
        # Rounded a little at the crease, else every peak ends in a needle.
        ridge = np.clip(1 - 0.5 * np.sqrt(noise**2 + 0.02), 0, 1)
        total += np.float32(0.52**octave) * ridge * weight
        weight = 0.25 + 0.75 * smoothstep(0.2, 0.95, ridge)
    distance = np.linspace(0, 1, _ROWS, dtype=np.float32)
    peaks = 0.74 + 0.2 * plan.noise(rng, 1.2 * per_unit, octaves=2, gain=0.4)
    envelope = smoothstep(0.0, 0.62, distance)[:, None] * np.clip(peaks, 0.25, 1.2)
    heights = (total - 0.45 * total.min()) * (0.08 + 0.92 * envelope)
    return heights / np.float32(heights.max()), distance


def _first_visible(y: Array, near_first: Array) -> Array:
    """(rows, W) index of the nearest row of the field that reaches up to each pixel."""
    index = np.empty(y.shape, np.intp)
    wanted = -y[:, 0]
    for column, line in enumerate(-near_first.T):
        index[:, column] = np.searchsorted(line, wanted)
    return np.minimum(index, near_first.shape[0] - 1)
