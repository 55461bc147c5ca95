from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from api.protocol import GenerateBackgroundsRequest
from backdrop.client import GenerateOptions
from backdrop.client.options import generate_fields, image_text

ALL: GenerateOptions = {
    "prompts": ["blue sky", "cloud"],
    "negative_prompts": "people",
    "translate_prompts": False,
    "resize_mode": "CropAndResize",
    "reference": b"reference",
    "refer_strength": 0.4,
    "reference_resize_mode": "JustResize",
    "deep_fusion": True,
    "model": "my-model",
    "steps": 20,
    "sampler": "Euler a",
    "cfg_scale": 5.5,
    "clip_skip": 2,
    "sub_models": {"lora": 0.75, "word": None},
    "use_main_model_vae": True,
    "seed": 7,
    "width": 640,
    "height": 480,
    "batch_size": 3,
    "preview": True,
    "webhook_url": "http://example.com",
    "request_uuid": "r-1",
}


def test_every_option_arrives_where_the_server_reads_it():
    assert ALL.keys() == GenerateOptions.__annotations__.keys()
    fields = generate_fields(b"cup", ALL)
    request = GenerateBackgroundsRequest.model_validate(fields)
    assert request.model_dump(exclude_unset=True) | {"ImageList": request.ImageList} == {
        "MainModel": {
            "ModelCode": "my-model",
            "InferenceParams": {"Steps": 20, "Sampler": "Euler a", "ClipSkip": 2, "CFGScale": 5.5},
        },
        "SubModelList": [
            {"ModelCode": "lora", "InferenceParams": {"LoraWeight": 0.75}},
            {"ModelCode": "word"},
        ],
        "PositivePrompts": ["blue sky", "cloud"],
        "NegativePrompts": ["people"],
        "TranslatePrompts": False,
        "BackgroundImage2Image": {
            "ImageIndex": 1,
            "ReferStrength": 0.4,
            "ResizeMode": "JustResize",
            "DeepFusion": True,
        },
        "TransparentForeground": {"ImageIndex": 0, "ResizeMode": "CropAndResize"},
        "Seed": 7,
        "Width": 640,
        "Height": 480,
        "UseMainModelVAE": True,
        "BatchSize": 3,
        "Preview": True,
        "ImageList": [base64.b64encode(data).decode() for data in (b"cup", b"reference")],
    }
    assert (request.WebhookUrl, fields["request_uuid"]) == ("http://example.com", "r-1")


def test_what_is_left_out_is_the_servers_to_choose():
    assert generate_fields(b"cup", {}) == {
        "ImageList": [base64.b64encode(b"cup").decode()],
        "TransparentForeground": {"ImageIndex": 0},
    }


@pytest.mark.parametrize("sub_models", ["lora", ["lora"], {"lora": None}])
def test_sub_models_may_be_names_alone(sub_models):
    fields = generate_fields(b"cup", {"sub_models": sub_models})
    assert fields["SubModelList"] == [{"ModelCode": "lora"}]


def test_an_image_may_be_a_path_bytes_or_a_pil_image(tmp_path: Path):
    image = Image.new("RGBA", (3, 2), (1, 2, 3, 4))
    path = tmp_path / "cup.png"
    image.save(path)
    for source in (path, str(path), path.read_bytes(), image):
        decoded = Image.open(io.BytesIO(base64.b64decode(image_text(source))))
        assert (decoded.mode, decoded.getpixel((0, 0))) == ("RGBA", (1, 2, 3, 4))


def test_a_misspelt_option_is_named():
    with pytest.raises(TypeError, match="promts"):
        generate_fields(b"cup", {"promts": "sky"})  # type: ignore[typeddict-unknown-key]


def test_options_of_a_reference_that_is_not_there_are_named():
    with pytest.raises(ValueError, match="deep_fusion, refer_strength"):
        generate_fields(b"cup", {"refer_strength": 0.5, "deep_fusion": True})


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"no\.png"):
        generate_fields("no.png", {})
