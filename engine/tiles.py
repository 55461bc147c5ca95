"""A canvas as overlapping tiles, and their outputs blended back into one."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from engine.tile_grid import MIN_OVERLAP, tile_starts


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of a canvas, in cells of whatever tensor it is cut from.

    Attributes:
        top: first row.
        left: first column.
        height: rows; the same in all tiles of a canvas.
        width: columns; likewise.
    """

    top: int
    left: int
    height: int
    width: int

    def crop(self, canvas: torch.Tensor) -> torch.Tensor:
        """(..., h, w) -> (..., height, width), a view."""
        rows = slice(self.top, self.top + self.height)
        return canvas[..., rows, self.left : self.left + self.width]

    def scaled(self, factor: int) -> Tile:
        """The same rectangle in cells `factor` times finer."""
        sides = (self.top, self.left, self.height, self.width)
        return Tile(*(side * factor for side in sides))


@functools.lru_cache(maxsize=256)
def cover(
    height: int,
    width: int,
    tile_height: int,
    tile_width: int,
    min_overlap: float = MIN_OVERLAP,
) -> tuple[Tile, ...]:
    """As few tiles as cover the canvas, evenly spread, row by row.

    Args:
        height: of the canvas, in cells.
        width: likewise.
        tile_height: of every tile; a canvas lower than that has tiles of its own height.
        tile_width: likewise.
        min_overlap: 0..1 exclusive, what neighbours share at least, as a part of a tile's side.
    """
    tile_height, tile_width = min(tile_height, height), min(tile_width, width)
    return tuple(
        Tile(top, left, tile_height, tile_width)
        for top in tile_starts(height, tile_height, min_overlap)
        for left in tile_starts(width, tile_width, min_overlap)
    )


def blending_weights(
    tiles: Sequence[Tile], device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, ...]:
    """What each tile counts for at each of its cells: float32 (height, width), above 0.

    A weight falls to almost nothing towards an edge that cuts through the canvas, where a tile
    knows least of its surroundings, by a squared sine over the whole overlap. At every cell of the
    canvas the weights of all tiles add up to 1.
    """
    return _weights(tuple(tiles), torch.device(device))


def blend(
    tiles: Sequence[Tile],
    outputs: Iterable[torch.Tensor],
    weights: Sequence[torch.Tensor],
) -> torch.Tensor:
    """Outputs of all tiles -> one canvas.

    Args:
        tiles: of one canvas, as `cover` gives them.
        outputs: one a tile, (..., height, width), taken one after the other; a single one is
            returned as it is.
        weights: of `blending_weights`.
    """
    canvas: torch.Tensor | None = None
    for tile, output, weight in zip(tiles, outputs, weights, strict=True):
        if len(tiles) == 1:
            return output
        if canvas is None:
            canvas = output.new_zeros((*output.shape[:-2], *_canvas_size(tiles)))
        tile.crop(canvas).add_(output * weight)
    assert canvas is not None, "a canvas has tiles"
    return canvas


@functools.lru_cache(maxsize=64)
def _weights(tiles: tuple[Tile, ...], device: torch.device) -> tuple[torch.Tensor, ...]:
    rows = _profiles([(tile.top, tile.height) for tile in tiles])
    columns = _profiles([(tile.left, tile.width) for tile in tiles])
    return tuple(
        (rows[tile.top][:, None] * columns[tile.left][None, :]).float().to(device) for tile in tiles
    )


def _profiles(spans: Sequence[tuple[int, int]]) -> dict[int, torch.Tensor]:
    """Weights along one axis by a tile's start: float64, adding up to 1 at every cell."""
    starts = sorted({start for start, _ in spans})
    side = spans[0][1]
    profiles: dict[int, torch.Tensor] = {}
    for index, start in enumerate(starts):
        profile = torch.ones(side, dtype=torch.float64)
        if index > 0:
            ramp = _ramp(starts[index - 1] + side - start)
            profile[: len(ramp)] *= ramp
        if index + 1 < len(starts):
            ramp = _ramp(start + side - starts[index + 1])
            profile[side - len(ramp) :] *= ramp.flip(0)
        profiles[start] = profile
    total = torch.zeros(starts[-1] + side, dtype=torch.float64)
    for start, profile in profiles.items():
        total[start : start + side] += profile
    return {start: each / total[start : start + side] for start, each in profiles.items()}


def _ramp(length: int) -> torch.Tensor:
    """From almost 0 to almost 1; it and its mirror image add up to 1."""
    middles = (torch.arange(length, dtype=torch.float64) + 0.5) / max(length, 1)
    return torch.sin(middles * (math.pi / 2)) ** 2


def _canvas_size(tiles: Sequence[Tile]) -> tuple[int, int]:
    last = tiles[-1]
    return last.top + last.height, last.left + last.width
