"""The measures on constructed pictures whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from engine.job import Sampler
from scripts.evaluate_embedded.__main__ import PARTS
from scripts.evaluate_embedded.cases import said_in, says_time
from scripts.evaluate_embedded.contours import grown_pixels, growth
from scripts.evaluate_embedded.evaluation import layout
from scripts.evaluate_embedded.pictures import PictureMaker, Wanted, find_model
from scripts.evaluate_embedded.report import as_markdown
from scripts.evaluate_embedded.statistics import (
    frechet_distance,
    kernel_distance,
    mean_distance,
    share,
    steps_in_order,
)
from scripts.train_embedded.dataset import SceneRecord
from scripts.train_embedded.words import caption

SIDE_PX = 128
RED, BLUE = (200, 30, 30), (40, 90, 200)


def disc(radius_px: float) -> np.ndarray:
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    return np.hypot(x - 64, y - 64) <= radius_px


def picture(background: tuple[int, int, int] = BLUE) -> tuple[np.ndarray, np.ndarray]:
    """A red disc before a plain background, and its alpha."""
    image = np.broadcast_to(np.array(background, np.uint8), (SIDE_PX, SIDE_PX, 3)).copy()
    image[disc(24)] = RED
    return image, np.where(disc(24), 255, 0).astype(np.uint8)


# Growth ------------------------------------------------------------------------------------------


def test_a_clean_composite_has_not_grown() -> None:
    image, alpha = picture()
    assert growth(image, alpha, upright=False) == 0


@pytest.mark.parametrize("width_px", [4, 8, 12])
def test_growth_is_the_area_of_the_rim(width_px: int) -> None:
    image, alpha = picture()
    rim = disc(24 + width_px) & ~disc(24)
    image[rim] = RED
    beyond_soft_edge = ndimage.distance_transform_edt(alpha == 0) > 1.5
    expected = (rim & beyond_soft_edge).sum() / disc(24).sum()
    assert growth(image, alpha, upright=False) == pytest.approx(expected, rel=0.1)


def test_a_spot_of_the_subjects_colour_apart_from_it_is_no_growth() -> None:
    image, alpha = picture()
    image[disc(38) & ~disc(32)] = RED
    assert growth(image, alpha, upright=False) == 0


def test_a_line_that_runs_into_the_product_is_no_growth() -> None:
    image, alpha = picture()
    image[::9] = RED
    image[disc(24)] = RED
    assert growth(image, alpha, upright=False) < 0.01


def test_a_shadow_is_no_growth() -> None:
    image, alpha = picture()
    shade = ndimage.gaussian_filter(disc(34).astype(float), 4)[..., None]
    shaded = (image * (1 - 0.7 * shade)).astype(np.uint8)
    shaded[disc(24)] = (12, 12, 14)  # a black product, whose shadow is nearly as dark
    assert growth(shaded, alpha, upright=False) < 0.01


def test_what_looks_like_its_background_cannot_grow() -> None:
    image, alpha = picture(background=(195, 35, 30))
    assert not grown_pixels(image, alpha, upright=False).any()


def test_a_reflection_below_a_standing_product_is_no_growth() -> None:
    image, alpha = picture()
    image[86:98, 58:70] = RED
    assert growth(image, alpha, upright=False) > 0.02
    assert growth(image, alpha, upright=True) < 0.005


def test_a_picture_full_of_product_is_not_measured() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    assert growth(image, np.full((64, 64), 255, np.uint8), upright=False) == 0


# Distances ---------------------------------------------------------------------------------------


def test_frechet_distance_of_known_gaussians() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((20_000, 3)).astype(np.float32)
    b = (2 * rng.standard_normal((20_000, 3)) + (1, 0, 0)).astype(np.float32)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(1 + 3 * (2 - 1) ** 2, rel=0.05)


def test_kernel_distance_is_about_zero_for_one_distribution_only() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 400, 8)).astype(np.float32)
    assert abs(kernel_distance(a, b)) < 0.05
    assert kernel_distance(a, b + 1) > 1


def test_frechet_distance_of_few_pictures_is_a_number() -> None:
    a, b = np.random.default_rng(2).standard_normal((2, 10, 64)).astype(np.float32)
    assert np.isfinite(frechet_distance(a, b))


def test_means_and_shares() -> None:
    vectors = np.array([[0, 0], [3, 4], [0, 0]], np.float32)
    assert mean_distance(vectors, [(0, 1), (0, 2)]) == 2.5
    assert mean_distance(vectors, []) is None
    assert share([True, False, True, True]) == 0.75
    assert share([]) is None
    assert steps_in_order([1, 2, 3]) == 1
    assert steps_in_order([3, 1, 2], rising=False) == 0.5


def test_layout_is_the_mean_colour_of_each_cell() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32] = 255
    assert layout(image, cells=2).tolist() == [1] * 6 + [0] * 6


# Prompts -----------------------------------------------------------------------------------------

BEACH = SceneRecord(
    5, "beach", ("seaside", "sand", "azure sky", "gentle waves"), "day", (("sky", "blue"),), "can"
)


def test_only_what_the_prompt_says_is_asked() -> None:
    assert said_in("seaside, sand", BEACH) == {"kind": ("beach",)}
    assert said_in("seaside, azure sky", BEACH)["sky"] == ("blue",)
    assert "sky" not in said_in("seaside, azure umbrella", BEACH)
    assert said_in("seaside at midday", BEACH)["time"] == ("day",)


def test_both_colours_must_be_said() -> None:
    colors = (("first", "red"), ("second", "navy"))
    record = SceneRecord(6, "abstract", ("",), None, colors, "can")
    assert set(said_in("abstract crimson and midnight blue waves", record)["abstract"]) == {
        "red",
        "navy",
    }
    assert "abstract" not in said_in("abstract crimson waves", record)


def test_every_natural_caption_says_its_kind() -> None:
    for seed in range(20):
        text = caption(np.random.default_rng(seed), BEACH.phrases, BEACH.time_of_day)
        assert "kind" in said_in(text, BEACH)


@pytest.mark.parametrize(
    ("prompt", "time_of_day"),
    [("sea at twilight", "dusk"), ("evening sky", "sunset"), ("starry sky", "night")],
)
def test_times_are_said_in_many_words(prompt: str, time_of_day: str) -> None:
    assert says_time(prompt, time_of_day)
    assert not says_time("blue sky", time_of_day)


# Pictures and report -----------------------------------------------------------------------------


def test_pictures_are_made_once_and_whole_batches_keep_their_order(
    root: Path, tmp_path: Path
) -> None:
    model = find_model("PICPIK General", root / "models.yaml")
    image, alpha = picture()
    foreground = Image.fromarray(np.dstack([image, alpha])).resize((64, 64))
    wanted = [Wanted(foreground, "blue sky", seed=seed, num_inference_steps=6) for seed in (1, 2)]
    maker = PictureMaker(model, tmp_path)
    first = maker.make(wanted)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(written) == 2
    again = maker.make(wanted[::-1])[::-1]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(*first)


def test_every_setting_makes_another_picture() -> None:
    foreground = Image.new("RGBA", (64, 64))
    different = [
        Wanted(foreground, "sky"),
        Wanted(foreground, "sea"),
        Wanted(foreground, "sky", seed=1),
        Wanted(foreground, "sky", negative_prompt="sea"),
        Wanted(foreground, "sky", num_inference_steps=6),
        Wanted(foreground, "sky", sampler=Sampler.HEUN),
        Wanted(foreground, "sky", guidance_scale=5.0),
        Wanted(foreground, "sky", reference=Image.new("RGB", (64, 64))),
        Wanted(Image.new("RGBA", (64, 64), "red"), "sky"),
    ]
    assert len({each.key("model") for each in different}) == len(different)
    assert different[0].key("model") != different[0].key("another")


def test_the_report_shows_what_there_is() -> None:
    assert set(PARTS) >= {"kinds", "binding", "growth", "speed"}
    table = as_markdown({"growth": {"grown": 0.0123, "beyond_renders": -0.001}}, {})
    assert "| growth of the subject | 1.2 % | <= 2 % |" in table
    assert "first 512x512" not in table
