"""Tiles cover a canvas with enough overlap and blend back into it without a trace."""

from __future__ import annotations

import itertools

import pytest
import torch

from engine.tiles import Tile, blend, blending_weights, cover

CANVASES = [(320, 320, 80, 80), (113, 64, 64, 64), (65, 129, 64, 64), (100, 77, 32, 24)]


@pytest.mark.parametrize("canvas", CANVASES)
def test_every_cell_is_covered_and_no_tile_leaves_the_canvas(
    canvas: tuple[int, int, int, int],
) -> None:
    height, width, tile_height, tile_width = canvas
    covered = torch.zeros(height, width)
    for tile in cover(*canvas):
        assert (tile.height, tile.width) == (tile_height, tile_width)
        assert tile.crop(covered).shape == (tile_height, tile_width)
        tile.crop(covered).add_(1)
    assert covered.min() >= 1


@pytest.mark.parametrize("side", range(65, 330, 7))
def test_neighbours_share_at_least_a_quarter(side: int) -> None:
    starts = [tile.top for tile in cover(side, 64, 64, 64)]
    assert starts[0] == 0
    assert starts[-1] == side - 64
    assert all(64 - (after - before) >= 16 for before, after in itertools.pairwise(starts))


def test_there_are_as_few_tiles_as_the_overlap_allows() -> None:
    assert len(cover(320, 320, 80, 80)) == 25
    assert len(cover(112, 64, 64, 64)) == 2
    assert len(cover(113, 64, 64, 64)) == 3


def test_a_canvas_smaller_than_a_tile_is_one_tile_of_its_own_size() -> None:
    assert cover(40, 50, 64, 64) == (Tile(0, 0, 40, 50),)


@pytest.mark.parametrize("canvas", CANVASES)
def test_weights_are_positive_and_add_up_to_one(canvas: tuple[int, int, int, int]) -> None:
    tiles = cover(*canvas)
    weights = blending_weights(tiles)
    assert all(weight.min() > 0 for weight in weights)
    total = blend(tiles, [torch.ones_like(weight) for weight in weights], weights)
    torch.testing.assert_close(total, torch.ones(canvas[:2]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("canvas", CANVASES)
def test_tiles_cut_from_a_canvas_blend_back_into_it(canvas: tuple[int, int, int, int]) -> None:
    whole = torch.randn(1, 4, *canvas[:2], generator=torch.Generator().manual_seed(0))
    tiles = cover(*canvas)
    again = blend(tiles, [tile.crop(whole) for tile in tiles], blending_weights(tiles))
    torch.testing.assert_close(again, whole, atol=1e-5, rtol=0)


def test_a_step_between_two_tiles_becomes_a_smooth_slope() -> None:
    tiles = cover(112, 64, 64, 64)
    outputs = [torch.full((1, 1, 64, 64), float(value)) for value in (0, 1)]
    column = blend(tiles, outputs, blending_weights(tiles))[0, 0, :, 0]
    assert column[47] == 0
    assert column[64] == 1
    slopes = column.diff()
    assert slopes.min() >= 0
    # No step is more than twice the mean slope over the 16 shared rows.
    assert slopes.max() < 2 / 16


def test_a_single_tile_is_handed_back_untouched() -> None:
    output = torch.randn(1, 4, 8, 8)
    tiles = cover(8, 8, 64, 64)
    assert blend(tiles, [output], blending_weights(tiles)) is output


def test_a_scaled_tile_marks_the_same_place_in_pixels() -> None:
    assert Tile(2, 3, 4, 5).scaled(8) == Tile(16, 24, 32, 40)
