"""Texture of constructed pictures whose distances are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from scripts.evaluate_embedded.fusion_sheet import write_fusion_sheet
from scripts.evaluate_embedded.report import as_markdown
from scripts.evaluate_embedded.style import detail_distance, grain_distance, texture_distance

SIDE_PX = 96
EVERYWHERE = np.ones((SIDE_PX, SIDE_PX), bool)


def noise(scale_px: float, contrast: float, seed: int = 0) -> np.ndarray:
    """Grey blobs of about one size."""
    values = np.random.default_rng(seed).normal(size=(SIDE_PX, SIDE_PX))
    blobs = ndimage.gaussian_filter(values, scale_px, mode="wrap")
    gray = np.clip(128 + contrast * blobs / blobs.std(), 0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)


def plain(*rgb: int) -> np.ndarray:
    return np.broadcast_to(np.array(rgb, np.uint8), (SIDE_PX, SIDE_PX, 3))


def test_only_what_is_inside_counts():
    image = plain(10, 200, 30).copy()
    image[:20] = (255, 0, 255)
    inside = EVERYWHERE.copy()
    inside[:20] = False
    for distance in (texture_distance, detail_distance):
        assert distance(image, inside, plain(10, 200, 30)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("distance", "scale_px"), [(texture_distance, 6.0), (detail_distance, 1.5)]
)
def test_textures_do_not_depend_on_brightness_or_place(distance, scale_px):
    first, second = noise(scale_px, 20, seed=0), noise(scale_px, 20, seed=1) + np.uint8(8)
    assert distance(first, EVERYWHERE, second) < 0.2


@pytest.mark.parametrize(
    ("distance", "scale_px"), [(texture_distance, 6.0), (detail_distance, 1.5)]
)
def test_contrast_and_size_of_detail_are_texture(distance, scale_px):
    wanted = noise(scale_px, 20, seed=1)
    alike = distance(noise(scale_px, 20, seed=0), EVERYWHERE, wanted)
    for other in (noise(scale_px, 6), noise(4 * scale_px, 20), plain(128, 128, 128)):
        assert distance(other, EVERYWHERE, wanted) > 3 * alike


def test_texture_and_fine_detail_are_told_apart():
    """Fine noise added to coarse blobs is fine detail alone."""
    blobs = noise(8, 30)
    grainy = np.clip(blobs.astype(int) + noise(0.5, 12) - 128, 0, 255).astype(np.uint8)
    assert detail_distance(grainy, EVERYWHERE, blobs) > 5 * texture_distance(
        grainy, EVERYWHERE, blobs
    )


def test_grain_is_the_direction_of_edges():
    stripes = np.sin(np.arange(SIDE_PX) / 3)[None, :, None] * np.ones((SIDE_PX, 1, 3))
    upright = (128 + 60 * stripes).astype(np.uint8)
    level = upright.transpose(1, 0, 2)
    assert grain_distance(upright, EVERYWHERE, level) > 0.9
    assert grain_distance(upright, EVERYWHERE, upright // 2 + np.uint8(60)) < 0.1


def test_the_sheet_has_a_cell_for_each_picture(tmp_path: Path):
    path = tmp_path / "sheet.jpg"
    rows = [(plain(250, 0, 0), [plain(0, 0, 250)] * 4)] * 3
    write_fusion_sheet(path, rows, (0.1, 0.5))
    with Image.open(path) as sheet:
        reds = (np.asarray(sheet.convert("RGB")).astype(int) @ [1, -1, -1] > 150).sum()
        blues = (np.asarray(sheet.convert("RGB")).astype(int) @ [-1, -1, 1] > 150).sum()
    assert blues == pytest.approx(4 * reds, rel=0.02)
    assert reds == pytest.approx(3 * 160 * 160, rel=0.02)


def test_the_report_tells_every_reference_strength():
    of = {"without": 10.0, "with": 6.0, "nearer_by": 0.4, "pictures_nearer": 0.75}
    found = {"palette": of, "texture": of, "pictures": 8}
    table = as_markdown({"fusion": {"renders": {"0.1": found, "0.3": found}}}, {})
    assert "| renders | 0.3 | texture | 10.0 | 6.0 | 40 % | 6 of 8 |" in table
