from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from PIL import Image

from api.errors import ApiError, MalformedRequest, MissingParameter
from api.media import DecodedImage
from api.protocol import (
    SAMPLER_NAMES,
    SAMPLERS,
    Envelope,
    GenerateBackgroundsRequest,
)
from api.query_requests import GetGenerateTaskDetailRequest, ListTasksDetailsRequest
from api.rawjson import parse_object, plain
from api.wire_fields import WIRE_FIELDS
from api.wire_types import validate
from engine.job import SEED_MODULUS, AdapterWeight, GenerationJob, ResizeMode, Sampler

FOREGROUND = DecodedImage(Image.new("RGBA", (8, 6)), b"profile")
REFERENCE = DecodedImage(Image.new("RGB", (9, 7)), None)
MINIMAL = {"TransparentForeground": {"ImageIndex": 0}}
EVERYTHING = {
    "MainModel": {
        "ModelCode": "m",
        "Name": "M",
        "IsOfficial": True,
        "TriggerWordList": ["w"],
        "InferenceParams": {
            "Steps": 20,
            "Sampler": "DPM++ 2M",
            "ClipSkip": 2,
            "CFGScale": 3,
            "LoraWeight": 0.5,
        },
    },
    "SubModelList": [
        {"ModelCode": "a"},
        {"ModelCode": "b", "InferenceParams": {"LoraWeight": -0.25}},
    ],
    "PositivePrompts": ["blue sky", "white cloud"],
    "NegativePrompts": ["text", "watermark"],
    "TranslatePrompts": False,
    "BackgroundImage2Image": {
        "ImageIndex": 1,
        "ReferStrength": 0.25,
        "ResizeMode": "CropAndResize",
        "DeepFusion": True,
    },
    "TransparentForeground": {"ImageIndex": 0, "ResizeMode": "JustResize"},
    "Seed": 2147483647,
    "Width": 640,
    "Height": 65,
    "UseMainModelVAE": True,
    "BatchSize": 16,
    "Preview": True,
    "ImageList": ["QUJD", "REVG"],
}


def parse(**fields: Any) -> GenerateBackgroundsRequest:
    return validate(GenerateBackgroundsRequest, {**MINIMAL, **fields})


def resolve(request: GenerateBackgroundsRequest) -> GenerateBackgroundsRequest:
    return request.resolved(default_model="default", default_canvas=(500, 400))


def job_of(request: GenerateBackgroundsRequest) -> GenerationJob:
    reference = None if request.BackgroundImage2Image is None else REFERENCE
    return request.to_job(job_id="j", foreground=FOREGROUND, reference=reference)


def put(fields: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """`fields` with `value` at a dotted path."""
    name, _, rest = path.partition(".")
    return {**fields, name: put(fields.get(name, {}), rest, value) if rest else value}


def test_every_field_reaches_the_job():
    assert job_of(resolve(validate(GenerateBackgroundsRequest, EVERYTHING))) == GenerationJob(
        job_id="j",
        model_name="m",
        foreground=FOREGROUND.image,
        prompt="blue sky, white cloud",
        negative_prompt="text, watermark",
        reference=REFERENCE.image,
        strength=0.75,
        foreground_resize_mode=ResizeMode.JUST_RESIZE,
        reference_resize_mode=ResizeMode.CROP_AND_RESIZE,
        deep_fusion=True,
        adapters=(AdapterWeight("a"), AdapterWeight("b", -0.25)),
        seed=2147483647,
        num_images=16,
        width_px=640,
        height_px=65,
        num_inference_steps=20,
        sampler=Sampler.DPMPP_2M,
        guidance_scale=3.0,
        clip_skip=2,
        use_checkpoint_vae=True,
        icc_profile=b"profile",
        preview=True,
    )


def test_defaults_are_the_protocols():
    request = parse(BackgroundImage2Image={"ImageIndex": 1})
    assert request.TranslatePrompts is True
    assert request.Seed == -1
    job = job_of(resolve(request))
    assert job == GenerationJob(
        job_id="j",
        model_name="default",
        foreground=FOREGROUND.image,
        reference=REFERENCE.image,
        strength=0.7,
        seed=job.seed,
        width_px=500,
        height_px=400,
        icc_profile=b"profile",
    )
    assert job.reference_resize_mode is job.foreground_resize_mode is ResizeMode.RESIZE_AND_FILL


def test_without_a_reference_strength_is_one():
    job = job_of(resolve(parse()))
    assert job.reference is None
    assert job.strength == 1.0


@pytest.mark.parametrize("fields", [MINIMAL, EVERYTHING, {"TransparentImageIndexList": [3]}])
def test_a_stored_request_gives_the_same_job_without_its_images(fields: dict[str, Any]):
    resolved = resolve(validate(GenerateBackgroundsRequest, fields))
    stored = json.loads(json.dumps(resolved.stored()))
    assert "ImageList" not in stored
    again = GenerateBackgroundsRequest.model_validate(stored)
    assert job_of(again) == job_of(resolved)
    assert again.foreground == resolved.foreground


def test_a_drawn_seed_is_in_range_and_differs():
    seeds = {resolve(parse(Seed=-1)).Seed for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed < SEED_MODULUS for seed in seeds)


def test_a_request_without_previews_is_stored_as_before_there_were_any():
    assert "Preview" not in resolve(parse(Preview=False)).stored()
    assert "Preview" not in parse().model_dump_json()  # what idempotency keys are compared by


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (500, 400)),
        ({"Width": 64}, (64, 400)),
        ({"Height": 2560}, (500, 2560)),
        ({"Width": 65, "Height": 66}, (65, 66)),
    ],
)
def test_an_absent_side_takes_the_foregrounds(fields: dict[str, int], size: tuple[int, int]):
    resolved = resolve(parse(**fields))
    assert (resolved.Width, resolved.Height) == size


def test_the_object_wins_over_the_older_list():
    request = parse(TransparentForeground={"ImageIndex": 5}, TransparentImageIndexList=[1, 2])
    assert request.foreground.ImageIndex == 5
    assert request.TransparentImageIndexList == []


@pytest.mark.parametrize("fields", [{}, {"TransparentImageIndexList": []}])
def test_a_foreground_is_required(fields: dict[str, Any]):
    with pytest.raises(MissingParameter, match=r"\[TransparentForeground\]"):
        validate(GenerateBackgroundsRequest, fields)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("TransparentImageIndexList", [0, 1]),
        ("TransparentImageIndexList[0]", [-1]),
        ("TransparentImageIndexList[0]", ["0"]),
    ],
)
def test_the_older_list_names_one_image(path: str, value: object):
    with pytest.raises(MalformedRequest) as caught:
        validate(GenerateBackgroundsRequest, {"TransparentImageIndexList": value})
    assert f"[{path}]" in caught.value.message


@pytest.mark.parametrize(
    ("path", "low", "high", "step"),
    [
        ("MainModel.InferenceParams.Steps", 6, 100, 1),
        ("MainModel.InferenceParams.ClipSkip", 1, 12, 1),
        ("MainModel.InferenceParams.CFGScale", 1, 30, 0.01),
        ("MainModel.InferenceParams.LoraWeight", -1, 2, 0.01),
        ("BackgroundImage2Image.ReferStrength", 0, 1, 0.001),
        ("Seed", -1, 2147483647, 1),
        ("Width", 64, 2560, 1),
        ("Height", 64, 2560, 1),
        ("BatchSize", 1, 16, 1),
    ],
)
def test_ranges_are_inclusive_and_refused_by_name_beyond(
    path: str, low: float, high: float, step: float
):
    fields = {**MINIMAL, "BackgroundImage2Image": {"ImageIndex": 1}}
    for value in (low, high):
        validate(GenerateBackgroundsRequest, put(fields, path, value))
    for value in (low - step, high + step, 10**30):
        with pytest.raises(MalformedRequest) as caught:
            validate(GenerateBackgroundsRequest, put(fields, path, value))
        assert f"[{path}]" in caught.value.message


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("Seed", [True, "10", 10.5, [], {}]),
        ("TransparentForeground.ImageIndex", [True, "0", 0.5, -1]),
        ("BackgroundImage2Image.ImageIndex", [False, "0", 0.5, -1]),
        ("BackgroundImage2Image.ReferStrength", [True, "0.3", [], {}]),
        ("BackgroundImage2Image.DeepFusion", [0, 1, "true", 1.0]),
        ("TranslatePrompts", [0, 1, "true", []]),
        ("UseMainModelVAE", [0, "false", {}]),
        ("Preview", [0, 1, "true", []]),
        ("MainModel", ["PICPIK General", [], 1]),
        ("MainModel.ModelCode", [1, True, "", "x" * 201, [], "a\0b"]),
        ("MainModel.InferenceParams", ["", 3, []]),
        ("MainModel.InferenceParams.Sampler", ["euler", "PNDM", "LCM", 1, ""]),
        ("PositivePrompts", ["blue sky", {"0": "x"}, 1, ["x" * 10_001], ["x" * 600] * 20]),
        ("NegativePrompts", ["text", True]),
        ("TransparentForeground", [0, [0], "0"]),
        ("TransparentForeground.ResizeMode", ["justresize", "", 0]),
        ("BackgroundImage2Image.ResizeMode", ["Fill", 1]),
        ("SubModelList", [{}, "a"]),
        ("ImageList", ["QUJD", {}]),
    ],
)
def test_wrong_types_and_values_are_refused_by_name(path: str, values: list[object]):
    fields = {**MINIMAL, "BackgroundImage2Image": {"ImageIndex": 1}}
    for value in values:
        with pytest.raises(MalformedRequest) as caught:
            validate(GenerateBackgroundsRequest, put(fields, path, value))
        assert f"[{path}]" in caught.value.message, value


@pytest.mark.parametrize("name", ["PositivePrompts", "NegativePrompts", "ImageList"])
@pytest.mark.parametrize("element", [None, 1, True, ["x"], {}])
def test_lists_hold_strings_only(name: str, element: object):
    with pytest.raises(MalformedRequest) as caught:
        parse(**{name: ["fine", element]})
    assert f"[{name}[1]]" in caught.value.message


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"TransparentForeground": {}}, "TransparentForeground.ImageIndex"),
        ({"TransparentForeground": {"ImageIndex": None}}, "TransparentForeground.ImageIndex"),
        ({"BackgroundImage2Image": {}}, "BackgroundImage2Image.ImageIndex"),
        ({"SubModelList": [{"ModelCode": "a"}, {}]}, "SubModelList[1].ModelCode"),
        ({"SubModelList": [{"ModelCode": None}]}, "SubModelList[0].ModelCode"),
        # what is missing is told before what is wrong
        ({"Seed": "x", "BackgroundImage2Image": {}}, "BackgroundImage2Image.ImageIndex"),
    ],
)
def test_a_missing_field_is_named(fields: dict[str, Any], path: str):
    with pytest.raises(MissingParameter) as caught:
        parse(**fields)
    assert caught.value.message == f"Missing params [{path}]"


def test_a_sub_models_weight_is_refused_by_its_place():
    bad = {"ModelCode": "b", "InferenceParams": {"LoraWeight": 2.01}}
    with pytest.raises(MalformedRequest, match=r"SubModelList\[1\]\.InferenceParams\.LoraWeight"):
        parse(SubModelList=[{"ModelCode": "a"}, bad])


def test_integral_floats_are_ints_and_ints_are_floats():
    body = b"""{"TransparentForeground": {"ImageIndex": 0.0}, "Seed": 10.0, "Width": 6.4e2,
        "BackgroundImage2Image": {"ImageIndex": 1.0, "ReferStrength": 1}}"""
    request = validate(GenerateBackgroundsRequest, plain(parse_object(body)))
    assert (request.Seed, request.Width) == (10, 640)
    assert type(request.Seed) is int
    assert job_of(resolve(request)).strength == 0.0


def test_null_is_absence_and_unknown_fields_are_ignored():
    nulls = dict.fromkeys(EVERYTHING)
    assert parse(**{**nulls, **MINIMAL}) == parse() == parse(Unknown={"x": [1]}, signature=5)


AVAILABLE_SAMPLERS = "Euler, Euler a, DPM++ 2M, DPM++ 2M Karras, UniPC, LMS, Heun, DDIM"


@pytest.mark.parametrize("name", AVAILABLE_SAMPLERS.split(", "))
def test_every_sampler_of_the_protocol_is_taken(name: str):
    request = parse(MainModel={"InferenceParams": {"Sampler": name}})
    sampler = job_of(resolve(request)).sampler
    assert sampler is not None
    assert SAMPLER_NAMES[sampler] == name


@pytest.mark.parametrize("name", ["PNDM", "PLMS", "euler", "DPM++ SDE", ""])
def test_another_sampler_is_refused_with_those_that_are_there(name: str):
    with pytest.raises(MalformedRequest) as caught:
        parse(MainModel={"InferenceParams": {"Sampler": name}})
    assert AVAILABLE_SAMPLERS in caught.value.message


def test_every_sampler_of_the_engine_has_a_name():
    assert set(SAMPLERS.values()) == set(SAMPLER_NAMES) == set(Sampler)


def test_every_field_of_a_job_has_a_name_on_the_wire():
    fields = {field.name for field in dataclasses.fields(GenerationJob)} - {"job_id"}
    assert set(WIRE_FIELDS) == fields


def test_the_envelope_needs_key_and_signature():
    with pytest.raises(MissingParameter, match="PublicKey"):
        validate(Envelope, {"Signature": "x"})
    with pytest.raises(MalformedRequest, match="request_uuid"):
        validate(Envelope, {"PublicKey": "k", "Signature": "x", "request_uuid": 1})


@pytest.mark.parametrize("uids", [None, "abc", [1], [None], ["x" * 101], ["x"] * 1001])
def test_task_ids_are_a_bounded_list_of_strings(uids: object):
    with pytest.raises(ApiError, match="TaskUIDList"):
        validate(ListTasksDetailsRequest, {"TaskUIDList": uids})


def test_a_single_task_id_is_a_string():
    with pytest.raises(MalformedRequest, match="TaskUID"):
        validate(GetGenerateTaskDetailRequest, {"TaskUID": ["x"]})


def test_empty_prompts_count_with_what_joins_them():
    with pytest.raises(MalformedRequest, match=r"PositivePrompts.*10000"):
        parse(PositivePrompts=[""] * 6_000)
