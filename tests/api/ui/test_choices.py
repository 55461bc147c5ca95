from __future__ import annotations

from pathlib import Path

import pytest

from api.ui.choices import Choices
from backdrop.client.options import generate_fields
from tests.api.wire import as_base64, png


@pytest.fixture
def cup(tmp_path: Path) -> str:
    path = tmp_path / "cup.png"
    path.write_bytes(png())
    return str(path)


def test_what_is_not_chosen_is_left_to_the_server(cup: str):
    fields = generate_fields(cup, Choices(cup, 64, 80, prompts="blue sky", seed=7).options())
    assert fields == {
        "ImageList": [as_base64(png())],
        "TransparentForeground": {"ImageIndex": 0},
        "PositivePrompts": ["blue sky"],
        "MainModel": {"InferenceParams": {"Steps": 10}},
        "Seed": 7,
        "Width": 64,
        "Height": 80,
        "BatchSize": 1,
    }


def test_everything_chosen_is_sent(cup: str, tmp_path: Path):
    lake = tmp_path / "lake.png"
    lake.write_bytes(png(mode="RGB"))
    choices = Choices(
        cup,
        64,
        80,
        resize_mode="CropAndResize",
        reference=str(lake),
        refer_strength=0.4,
        reference_resize_mode="JustResize",
        deep_fusion=True,
        prompts=" blue sky \n\nwhite cloud",
        negative_prompts="people",
        model="m",
        lora_weights={"glow": -0.5},
        embeddings=("style",),
        steps=6,
        sampler="Euler a",
        cfg_scale=4.5,
        clip_skip=2,
        seed=0,
        batch_size=3,
    )
    assert generate_fields(cup, choices.options()) == {
        "ImageList": [as_base64(png()), as_base64(png(mode="RGB"))],
        "TransparentForeground": {"ImageIndex": 0, "ResizeMode": "CropAndResize"},
        "BackgroundImage2Image": {
            "ImageIndex": 1,
            "ReferStrength": 0.4,
            "ResizeMode": "JustResize",
            "DeepFusion": True,
        },
        "PositivePrompts": ["blue sky", "white cloud"],
        "NegativePrompts": ["people"],
        "MainModel": {
            "ModelCode": "m",
            "InferenceParams": {"Steps": 6, "Sampler": "Euler a", "CFGScale": 4.5, "ClipSkip": 2},
        },
        "SubModelList": [
            {"ModelCode": "glow", "InferenceParams": {"LoraWeight": -0.5}},
            {"ModelCode": "style"},
        ],
        "Seed": 0,
        "Width": 64,
        "Height": 80,
        "BatchSize": 3,
    }


def test_a_seed_is_drawn_on_the_page_so_that_the_request_can_be_repeated(cup: str):
    drawn = {Choices(cup, 64, 64).with_seed().seed for _ in range(4)}
    assert len(drawn) > 1
    assert all(0 <= seed < 2**31 for seed in drawn)
    assert Choices(cup, 64, 64, seed=0).with_seed().seed == 0
