from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from api.media import encode_png, parameters_text
from api.png import read_png
from backdrop import __version__
from tests.api.image_files import MAX_PIXELS, SWAPPED


def test_a_result_keeps_its_pixels_its_profile_and_its_parameters():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (7, 5, 3), dtype=np.uint8))
    parameters = {"prompt": "blue sky", "seed": 3}
    data = encode_png(image, icc_profile=SWAPPED, parameters=parameters)
    pixels = read_png(data, max_pixels=MAX_PIXELS)
    assert pixels.color.tobytes() == image.tobytes()
    assert pixels.alpha is None
    assert pixels.icc_profile == SWAPPED
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == "RGB"
        assert opened.text["parameters"] == parameters_text(parameters)


def test_a_result_carries_nothing_it_was_not_given():
    image = Image.new("RGB", (2, 2))
    image.info = {
        "transparency": (0, 0, 0),
        "icc_profile": SWAPPED,
        "parameters": "x",
        "dpi": (1, 1),
    }
    data = encode_png(image, icc_profile=None, parameters=None)
    for kind in (b"tRNS", b"iCCP", b"tEXt", b"iTXt", b"pHYs"):
        assert kind not in data


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [("café", b"tEXt"), ("蓝天", b"iTXt"), ("a\0b", b"iTXt"), ("\ud800", b"tEXt")],
)
def test_every_prompt_can_be_written(prompt, kind):
    data = encode_png(Image.new("RGB", (2, 2)), icc_profile=None, parameters={"prompt": prompt})
    assert kind in data
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        written = opened.text["parameters"].splitlines()[0]
    assert written == prompt.replace("\0", "\ufffd").replace("\ud800", "?")


def test_parameters_are_written_as_web_uis_do():
    text = parameters_text(
        {
            "prompt": "blue sky, white cloud",
            "negative_prompt": "people",
            "num_inference_steps": 10,
            "sampler": "dpmpp_2m",
            "guidance_scale": 3.0,
            "seed": 1,
            "width_px": 512,
            "height_px": 384,
            "model_name": "PICPIK General",
            "strength": 0.7,
            "clip_skip": 2,
            "adapters": [["film", 0.8], ["glow", 1.0]],
        }
    )
    assert text == (
        "blue sky, white cloud <lora:film:0.8> <lora:glow:1>\n"
        "Negative prompt: people\n"
        "Steps: 10, Sampler: DPM++ 2M, CFG scale: 3, Seed: 1, Size: 512x384, Model: PICPIK General, "
        f"Denoising strength: 0.7, Clip skip: 2, Version: Backdrop {__version__}"
    )


def test_a_value_that_would_split_the_line_is_quoted():
    assert parameters_text({"model_name": 'a, b: "c"'}).startswith('\nModel: "a, b: \\"c\\"", ')


@pytest.mark.parametrize("key", ["prompt", "sampler", "width_px", "strength", "adapters"])
def test_missing_parameters_are_left_out(key):
    full = {"prompt": "p", "sampler": "euler", "width_px": 8, "height_px": 8, "strength": 0.5,
            "adapters": []}  # fmt: skip
    del full[key]
    assert "None" not in parameters_text(full)
    assert parameters_text({}) == f"\nVersion: Backdrop {__version__}"


def test_what_was_not_done_quite_as_asked_is_noted() -> None:
    text = parameters_text({"notes": ["glow: 2 parts have no place", "mist: 1 part has none"]})
    assert text.startswith('\nNote: "glow: 2 parts have no place; mist: 1 part has none", ')
    assert "Note" not in parameters_text({"notes": []})
