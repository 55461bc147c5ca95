"""Canvases far from the native area are painted at sizes the model knows."""

from __future__ import annotations

from typing import Any

import pytest

from engine.canvas_sizes import PassSize, pass_sizes
from engine.registry import MainModel, Registry
from engine.tile_grid import num_tiles


@pytest.fixture
def model(tiny_registry: Registry) -> MainModel:
    """Of 512 native pixels, with the thresholds that models.yaml need not name."""
    model = tiny_registry.main_model("nine")
    defaults = {
        key: MainModel.model_fields[key].default
        for key in ("two_pass_area_ratio", "refine_strength", "tile_size_px", "min_area_ratio")
    }
    return model.model_copy(update=defaults)


def sizes(
    model: MainModel, width_px: int, height_px: int, strength: float = 1.0, **changes: Any
) -> tuple[PassSize, ...]:
    changed = model.model_copy(update=changes)
    return pass_sizes(width_px, height_px, strength, changed, changed.info)


@pytest.mark.parametrize("size", [(512, 512), (640, 480), (1024, 512), (368, 368)])
def test_about_the_native_area_the_canvas_is_painted_as_it_is(
    model: MainModel, size: tuple[int, int]
) -> None:
    assert sizes(model, *size) == (PassSize(*size),)


def test_far_above_it_is_composed_at_native_area_and_refined_by_tiles(model: MainModel) -> None:
    composing, refining = sizes(model, 2560, 2560)
    assert composing == PassSize(512, 512)
    assert refining == PassSize(2560, 2560, (640, 640))


def test_what_is_not_longer_than_a_tile_is_refined_whole(model: MainModel) -> None:
    assert sizes(model, 768, 768)[1] == PassSize(768, 768)
    assert sizes(model, 2560, 640)[1].tile_px == (640, 640)


def test_tiles_are_as_small_as_their_number_allows(model: MainModel) -> None:
    for side in range(776, 2561, 8):
        tile = sizes(model, side, side)[1].tile_px
        assert tile is not None
        cells = tile[0] // 8
        assert cells % 8 == 0
        assert cells <= 96
        fewest = num_tiles(side // 8, 96)
        assert num_tiles(side // 8, cells) == fewest
        assert num_tiles(side // 8, cells - 8) > fewest


def test_a_weak_repaint_is_tiled_without_a_composing_pass(model: MainModel) -> None:
    (only,) = sizes(model, 2048, 2048, 0.3)
    assert only == PassSize(2048, 2048, (640, 640))


def test_far_below_it_is_painted_at_native_area(model: MainModel) -> None:
    assert sizes(model, 64, 64) == (PassSize(512, 512),)
    assert sizes(model, 128, 256) == (PassSize(360, 728),)


def test_thresholds_are_the_models_own(model: MainModel) -> None:
    assert sizes(model, 64, 64, min_area_ratio=0.0) == (PassSize(64, 64),)
    assert len(sizes(model, 600, 600, two_pass_area_ratio=1.0)) == 2
    assert sizes(model, 2560, 2560, two_pass_area_ratio=30.0) == (PassSize(2560, 2560),)
    assert sizes(model, 2560, 2560, tile_size_px=512)[1].tile_px == (512, 512)
    (only,) = sizes(model, 1024, 1024, 0.5, refine_strength=0.6)
    assert only.tile_px == (640, 640)


@pytest.mark.parametrize("size", [(64, 2560), (2560, 64), (64, 1024)])
def test_no_side_shrinks_to_nothing(model: MainModel, size: tuple[int, int]) -> None:
    for each in sizes(model, *size):
        assert each.width_px % 8 == each.height_px % 8 == 0
        assert min(each.width_px, each.height_px) >= 8
