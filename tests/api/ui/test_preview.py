from __future__ import annotations

import numpy as np
from PIL import Image

from api.protocol import RESIZE_MODES, ResizeModeName
from api.ui.preview import LONGEST_SIDE_PX, over_checkerboard, placed, placements
from engine.resize import place, resize_foreground


def cut_out(width: int = 80, height: int = 40) -> Image.Image:
    """Opaque red but for a transparent frame of 8 pixels."""
    image = Image.new("RGBA", (width, height))
    image.paste((200, 30, 40, 255), (8, 8, width - 8, height - 8))
    return image


def test_transparency_shows_two_greys_and_opaque_pixels_stay():
    shown = np.asarray(over_checkerboard(cut_out()))
    assert len(np.unique(shown[0])) == 2
    assert (shown[8:-8, 8:-8] == (200, 30, 40)).all()


def test_a_preview_places_the_cut_out_as_a_request_does():
    for mode in ResizeModeName:
        sent = np.asarray(resize_foreground(cut_out(), 96, 96, RESIZE_MODES[mode]))
        shown = np.asarray(placed(cut_out(), 96, 96, mode))
        kept = sent[..., 3] == 255
        assert kept.any()
        assert (shown[kept] == sent[kept][:, :3]).all()


def test_each_mode_is_shown_on_a_small_copy_of_the_canvas():
    shown = placements(cut_out(), 2560, 640)
    assert list(shown) == list(ResizeModeName)
    assert {image.size for image in shown.values()} == {(LONGEST_SIDE_PX, LONGEST_SIDE_PX // 4)}
    for mode, image in shown.items():
        pixels = np.asarray(image).astype(int)
        red = pixels[..., 0] > pixels[..., 2] + 100
        left, top, right, bottom = Image.fromarray(red).getbbox() or (0, 0, 0, 0)
        spot = place((80, 40), *image.size, RESIZE_MODES[mode])
        scale = spot.width_px / 80
        assert abs(left - max(0, spot.left_px + 8 * scale)) <= 1
        assert abs(right - min(image.width, spot.left_px + 72 * scale)) <= 1
        assert top >= 0
        assert bottom <= image.height


def test_a_canvas_smaller_than_the_preview_is_shown_as_it_is():
    assert {image.size for image in placements(cut_out(), 64, 100).values()} == {(64, 100)}
