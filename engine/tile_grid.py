"""Where tiles lie along one side of a canvas. Imports no torch."""

from __future__ import annotations

import math

# Two tiles see their common part from different surroundings and answer differently; a quarter of
# a tile is wide enough to pass from one answer to the other without a visible seam.
MIN_OVERLAP = 0.25


def num_tiles(side: int, tile_side: int, min_overlap: float = MIN_OVERLAP) -> int:
    """The fewest tiles that cover `side`, neighbours sharing at least `min_overlap` of a tile."""
    if tile_side >= side:
        return 1
    longest_stride = max(1, math.floor(tile_side * (1 - min_overlap)))
    return 1 + math.ceil((side - tile_side) / longest_stride)


def tile_starts(side: int, tile_side: int, min_overlap: float = MIN_OVERLAP) -> tuple[int, ...]:
    """First cells of those tiles, evenly spread from 0 to the end."""
    last = num_tiles(side, tile_side, min_overlap) - 1
    return tuple(round(index * (side - tile_side) / max(1, last)) for index in range(last + 1))


def fewest_tiles_side(side: int, largest: int, multiple: int = 1) -> int:
    """The shortest tile that covers `side` in as few tiles as the largest would.

    Args:
        side: to cover.
        largest: of a tile, at least `multiple`.
        multiple: what a tile's side is a multiple of, but where it is all of `side`.
    """
    if side <= largest:
        return side
    sides = range(multiple, largest + 1, multiple)
    fewest = num_tiles(side, sides[-1])
    return next(each for each in sides if num_tiles(side, each) == fewest)
