"""From a signed request to the finished picture, over real HTTP, with nothing replaced."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e.client import PicpikClient, as_base64, as_png, sign
from tests.e2e.conftest import Server

STEPS = {"ModelCode": "PICPIK General", "InferenceParams": {"Steps": 6}}


@pytest.fixture(scope="module")
def cup(examples: Path) -> Image.Image:
    """The espresso cup at 150x100."""
    with Image.open(examples / "coffee-cup.png") as picture:
        return picture.resize((150, 100), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def request_fields(cup: Image.Image) -> dict[str, Any]:
    """A small request that takes a second or so."""
    return {
        "images": [as_png(cup)],
        "MainModel": STEPS,
        "PositivePrompts": ["blue sky"],
        "TransparentForeground": {"ImageIndex": 0},
        "Seed": 7,
    }


def fitted(foreground: Image.Image, width_px: int, height_px: int) -> Image.Image:
    """ResizeAndFill by the protocol page: fit, centre, transparent margin."""
    scale = min(width_px / foreground.width, height_px / foreground.height)
    size = tuple(max(1, round(side * scale)) for side in foreground.size)
    canvas = Image.new("RGBA", (width_px, height_px))
    corner = ((width_px - size[0]) // 2, (height_px - size[1]) // 2)
    canvas.paste(foreground.resize(size, Image.Resampling.BICUBIC), corner)
    return canvas


def assert_subject_kept(result: Image.Image, foreground: Image.Image) -> None:
    expected = np.asarray(foreground)
    solid = expected[..., 3] == 255
    assert solid.sum() > 100
    np.testing.assert_array_equal(np.asarray(result)[solid], expected[..., :3][solid])


def test_a_signed_request_becomes_a_picture_around_the_untouched_subject(
    alice: PicpikClient, cup: Image.Image, request_fields: dict[str, Any]
) -> None:
    detail, [picture] = alice.generate(**request_fields)

    assert detail["Action"] == "GenerateBackgrounds"
    assert detail["Seed"] == 7
    assert detail["ErrorCode"] == 0
    assert detail["ErrorMassage"] == detail["ErrorMessage"] == ""
    assert detail["TxtList"] == []
    assert detail["ConsumeApiPoint"] == math.ceil(150 * 100 / 1e6 * 6)
    assert picture.format == "PNG"
    assert picture.mode == "RGB"
    assert picture.size == cup.size
    assert_subject_kept(picture, cup)
    background = np.asarray(picture)[np.asarray(cup)[..., 3] == 0]
    assert background.std() > 1, "the background is one flat colour: nothing was painted"


def test_chinese_prompts_paint_what_their_english_paints(
    alice: PicpikClient, request_fields: dict[str, Any]
) -> None:
    detail, [chinese] = alice.generate(**{**request_fields, "PositivePrompts": ["蓝天"]})
    assert detail["PositivePromptsUsed"] == ["blue sky"]
    assert detail["NegativePromptsUsed"] == []
    assert detail["Note"] == ""
    assert chinese.info["parameters"].startswith("blue sky\n")

    _, [english] = alice.generate(**request_fields)
    np.testing.assert_array_equal(np.asarray(chinese), np.asarray(english))


@pytest.mark.parametrize(("width_px", "height_px"), [(64, 64), (131, 97), (256, 200)])
def test_every_canvas_size_is_exact_and_keeps_the_resized_subject(
    alice: PicpikClient,
    cup: Image.Image,
    request_fields: dict[str, Any],
    width_px: int,
    height_px: int,
) -> None:
    _, [picture] = alice.generate(**request_fields, Width=width_px, Height=height_px)

    assert picture.size == (width_px, height_px)
    assert_subject_kept(picture, fitted(cup, width_px, height_px))


def test_a_batch_equals_single_images_with_counted_up_seeds(
    alice: PicpikClient, request_fields: dict[str, Any]
) -> None:
    detail, batch = alice.generate(**request_fields, BatchSize=3)
    assert detail["SeedList"] == [7, 8, 9]
    assert len(batch) == 3

    for index, member in enumerate(batch):
        single_fields = {**request_fields, "Seed": 7 + index}
        _, [single] = alice.generate(**single_fields)
        difference = np.abs(np.asarray(member, np.int16) - np.asarray(single, np.int16))
        assert difference.max() <= 1
        assert (difference == 0).mean() >= 0.999
    assert np.asarray(batch[0]).tobytes() != np.asarray(batch[1]).tobytes()


def test_the_pages_own_example_is_served_as_it_stands(
    alice: PicpikClient, cup: Image.Image, examples: Path
) -> None:
    reference = (examples / "lake-pagoda.jpg").read_bytes()
    answer = alice.call(
        "GenerateBackgrounds",
        request_uuid="u-1",
        MainModel={"ModelCode": "PICPIK General", "InferenceParams": {"Steps": 10}},
        BackgroundImage2Image={
            "ImageIndex": 1,
            "ReferStrength": 0.3,
            "ResizeMode": "ResizeAndFill",
        },
        NegativePrompts=[],
        PositivePrompts=["blue sky", "white cloud"],
        TranslatePrompts=False,
        TransparentImageIndexList=[0],
        ImageList=[
            "data:image/png;base64," + as_base64(as_png(cup)),
            "data:image/jpeg;base64," + as_base64(reference),
        ],
    )
    assert answer["Message"] == ""
    assert answer["request_uuid"] == "u-1"

    detail = alice.wait(answer["TaskUID"])
    assert detail["Status"] == "Finished", detail
    assert 0 <= detail["Seed"] <= 2**31 - 1
    [url] = detail["ImgList"]
    picture = alice.download(url)
    assert picture.size == cup.size
    assert_subject_kept(picture, cup)


def test_a_drawn_seed_is_reported_and_repeats_the_picture(
    alice: PicpikClient, request_fields: dict[str, Any]
) -> None:
    drawn = {**request_fields, "Seed": -1}
    detail, [first] = alice.generate(**drawn)
    assert detail["Seed"] >= 0

    _, [again] = alice.generate(**{**request_fields, "Seed": detail["Seed"]})
    np.testing.assert_array_equal(np.asarray(first), np.asarray(again))


def test_old_queries_answer_about_new_tasks(
    alice: PicpikClient, request_fields: dict[str, Any]
) -> None:
    uid = alice.submit(**request_fields)
    urls = alice.wait(uid)["ImgList"]

    [listed] = alice.call("ListGenerateTaskDetail", TaskUIDs=[uid])["TaskDetailList"]
    assert listed["TaskUid"] == uid
    single = alice.call("GetGenerateTaskDetail", TaskUID=uid)
    for detail in (listed, single):
        assert detail["TaskType"] == "TaskGeneratePicture"
        assert detail["TaskStatus"] == "Finished"
        assert detail["TaskErrorCode"] == 0
        assert detail["FinalPictureUrls"] == urls


def test_one_key_sees_nothing_of_another_keys_tasks(
    alice: PicpikClient, bob: PicpikClient, request_fields: dict[str, Any]
) -> None:
    uid = alice.submit(**request_fields)
    assert uid in alice.call("ListRunningTasks")["TaskUIDList"]
    assert bob.call("ListRunningTasks")["TaskUIDList"] == []
    assert alice.wait(uid)["ImgList"]
    assert uid not in alice.call("ListRunningTasks")["TaskUIDList"]

    foreign = bob.detail(uid)
    unknown = bob.detail("0" * 20)
    assert foreign["Status"] == "Error"
    assert foreign["ErrorCode"] == 1203
    assert foreign["ImgList"] == []
    assert {**foreign, "TaskUID": ""} == {**unknown, "TaskUID": ""}


def test_a_changed_result_url_gives_nothing(
    alice: PicpikClient, server: Server, request_fields: dict[str, Any]
) -> None:
    detail, _ = alice.generate(**request_fields)
    [url] = detail["ImgList"]
    assert url.startswith(server.base_url)

    swapped = {"0": "1", "a": "b", "A": "B"}
    for index in range(len(server.base_url) + 1, len(url)):
        changed = url[:index] + swapped.get(url[index], "0") + url[index + 1 :]
        if changed != url:
            assert 400 <= alice.http.get(changed).status_code < 500, changed


@pytest.mark.parametrize(
    ("changes", "ret_code", "named"),
    [
        ({"Width": 63}, 230, "Width"),
        ({"Seed": 2**31}, 230, "Seed"),
        ({"BatchSize": 17}, 230, "BatchSize"),
        ({"TransparentForeground": {"ImageIndex": 1}}, 230, "ImageIndex"),
        ({"ImageList": ["bm90IGFuIGltYWdl"]}, 230, "ImageList"),
        ({"MainModel": {"ModelCode": "Nobody's"}}, 1202, "Nobody's"),
        ({"SubModelList": [{"ModelCode": "no-lora"}]}, 1202, "no-lora"),
    ],
)
def test_bad_values_are_refused_by_name_before_any_task_is_made(
    alice: PicpikClient,
    request_fields: dict[str, Any],
    changes: dict[str, Any],
    ret_code: int,
    named: str,
) -> None:
    fields = {name: value for name, value in request_fields.items() if name != "images"}
    images = [as_base64(data) for data in request_fields["images"]]
    answer = alice.ask("GenerateBackgrounds", **{"ImageList": images, **fields, **changes})

    assert answer["RetCode"] == ret_code
    assert named in answer["Message"]
    assert "TaskUID" not in answer
    assert alice.call("ListRunningTasks")["TaskUIDList"] == []


def test_an_unsigned_or_wrongly_signed_request_learns_nothing(alice: PicpikClient) -> None:
    body = {"Action": "NoSuchAction", "PublicKey": "alice"}
    stranger = {"Action": "ListModels", "PublicKey": "mallory"}

    assert alice.post({"PublicKey": "alice"})["RetCode"] == 160
    assert alice.post(body)["RetCode"] == 170
    assert alice.post({**body, "Signature": "0" * 40})["RetCode"] == 171
    assert alice.post({**stranger, "Signature": sign(stranger, "x")})["RetCode"] == 172
    assert alice.post({**body, "Signature": sign(body, "alice-private")})["RetCode"] == 161


def test_a_model_from_the_list_may_be_passed_back_whole(
    alice: PicpikClient, request_fields: dict[str, Any]
) -> None:
    models = alice.call("ListModels")
    for kind in ("LoraModels", "EmbeddingModels", "HypernetworkModels"):
        assert models[kind] == {}
    general = models["MainModels"]["PICPIK General"]
    assert general["InferenceParams"]["Steps"] == 10

    assert alice.generate(**{**request_fields, "MainModel": general})


def test_the_server_says_that_it_lives_and_soon_is_ready(alice: PicpikClient) -> None:
    assert alice.http.get("/livez").status_code == 200
    assert alice.http.get("/healthz").status_code == 200
    deadline = time.monotonic() + 60
    while (ready := alice.http.get("/readyz")).status_code != 200:
        assert ready.json()["reasons"] == ["no worker of this server is ready"]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert alice.http.get("/").status_code == 405
