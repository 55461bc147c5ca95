"""From the form and its axes to the points of a sweep, before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.credits import points_of
from api.sweeps.axes import BadAxis
from api.ui.choices import Choices
from api.ui.sweep import MAX_PICTURES, request_of, sweep_of
from backdrop.client import ModelList
from tests.api.wire import png

MODELS = ModelList.from_wire(
    {
        "MainModels": {code: {"ModelCode": code} for code in ("small", "large")},
        "LoraModels": {"glow": {"ModelCode": "glow"}},
    }
)


@pytest.fixture
def choices(tmp_path: Path) -> Choices:
    for name, mode in (("cup.png", "RGBA"), ("lake.png", "RGB")):
        (tmp_path / name).write_bytes(png(mode=mode))
    return Choices(
        str(tmp_path / "cup.png"),
        64,
        80,
        reference=str(tmp_path / "lake.png"),
        prompts="sky",
        model="small",
        lora_weights={"glow": 0.5},
        seed=5,
        batch_size=4,
    )


def test_every_combination_is_a_job_of_one_picture_the_last_axis_fastest(choices: Choices):
    sweep = sweep_of(choices, ["Steps=6,10", "Seed=1..3"], MODELS)
    assert [(each.choices.steps, each.choices.seed) for each in sweep.points] == [
        (6, 1), (6, 2), (6, 3), (10, 1), (10, 2), (10, 3),
    ]  # fmt: skip
    assert {each.choices.batch_size for each in sweep.points} == {1}
    assert sweep.title(5) == "Steps 10, Seed 3"


@pytest.mark.parametrize(
    ("axis", "changes"),
    [
        ("CFGScale=4.5", {"cfg_scale": 4.5}),
        ("Sampler=Euler a", {"sampler": "Euler a"}),
        ("ReferStrength=0.3", {"refer_strength": 0.3}),
        ("DeepFusion=on", {"deep_fusion": True}),
        (
            "ResizeMode=JustResize",
            {"resize_mode": "JustResize", "reference_resize_mode": "JustResize"},
        ),
        ("Model=large", {"model": "large"}),
        ("lora:glow=-0.25", {"lora_weights": {"glow": -0.25}}),
    ],
)
def test_an_axis_sets_its_field_as_it_was_written(
    choices: Choices, axis: str, changes: dict[str, Any]
):
    (point,) = sweep_of(choices, [axis], MODELS).points
    assert point.choices == replace(choices, batch_size=1, **changes)


def test_a_lora_need_not_be_chosen_to_be_swept(choices: Choices):
    (point,) = sweep_of(replace(choices, lora_weights={}), ["lora:glow=1"], MODELS).points
    assert point.choices.lora_weights == {"glow": 1}


def test_a_seed_that_is_left_to_chance_is_drawn_once_for_all(choices: Choices):
    sweep = sweep_of(replace(choices, seed=-1), ["Steps=6..12"], MODELS)
    (seed,) = {each.choices.seed for each in sweep.points}
    assert seed >= 0


def test_points_of_one_model_are_sent_together(choices: Choices):
    sweep = sweep_of(choices, ["Steps=6,10", "Model=small,large"], MODELS)
    models = [sweep.points[index].choices.model for index in sweep.order()]
    assert models == ["small", "small", "large", "large"]


def test_the_price_is_that_of_all_tasks(choices: Choices):
    """DeepFusion costs nothing at the ends of ReferStrength, where it has no effect."""
    large = replace(choices, width=512, height=512)
    sweep = sweep_of(large, ["DeepFusion=off,on", "ReferStrength=0,0.5,1"], MODELS)
    plain, deep = (
        points_of(
            width_px=512,
            height_px=512,
            num_inference_steps=10,
            num_images=1,
            base_points_per_megapixel_step=20,
            deep_fusion=reads,
        )
        for reads in (False, True)
    )
    assert deep > plain
    assert sweep.price(20) == 5 * plain + deep


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (["Steps=6,5"], "axis Steps: 5: "),
        (["lora:glwo=1"], "axis lora:glwo: there is no such LoRA; there are glow"),
        (["Model=small,huge"], "axis Model: huge: there is no such model; there are small, large"),
        ([f"Seed=0..{MAX_PICTURES}"], f"{MAX_PICTURES + 1} pictures"),
        ([], "1 to 3 axes"),
    ],
)
def test_what_cannot_be_swept_is_named(choices: Choices, axes: list[str], words: str):
    with pytest.raises(BadAxis, match=words):
        sweep_of(choices, axes, MODELS)


@pytest.mark.parametrize("axis", ["ReferStrength=0.5", "DeepFusion=on"])
def test_an_axis_of_the_reference_needs_one(choices: Choices, axis: str):
    with pytest.raises(BadAxis, match=f"axis {axis.partition('=')[0]}: needs a background"):
        sweep_of(replace(choices, reference=None), [axis], MODELS)


def test_as_many_pictures_as_the_page_takes_are_taken(choices: Choices):
    assert len(sweep_of(choices, [f"Seed=1..{MAX_PICTURES}"], MODELS).points) == MAX_PICTURES


def test_a_request_is_told_without_its_images(choices: Choices):
    told = request_of(choices)
    assert "ImageList" not in told
    assert told["BackgroundImage2Image"]["ReferStrength"] == 0.3
    assert (told["Seed"], told["MainModel"]["ModelCode"]) == (5, "small")
