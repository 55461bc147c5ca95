"""A preview of the embedded model arrives over HTTP while the picture is still being painted."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e.client import FINAL, PicpikClient, as_png

SIDE_PX = 256


@pytest.fixture(scope="module")
def fields(examples: Path) -> dict[str, Any]:
    """A request that takes some seconds."""
    with Image.open(examples / "coffee-cup.png") as picture:
        cup = picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    return {
        "images": [as_png(cup)],
        "MainModel": {"ModelCode": "PICPIK General", "InferenceParams": {"Steps": 60}},
        "PositivePrompts": ["sandy beach", "sunset sky"],
        "TransparentForeground": {"ImageIndex": 0},
        "Seed": 7,
    }


def previews(client: PicpikClient, uid: str) -> list[dict[str, Any]]:
    return client.call("GetTaskPreviews", TaskUID=uid)["PreviewList"]


def picture_of(preview: dict[str, Any]) -> Image.Image:
    kind, _, text = preview["Image"].partition(",")
    assert kind == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


def test_a_preview_comes_before_the_end_and_resembles_the_picture(
    alice: PicpikClient, bob: PicpikClient, fields: dict[str, Any]
) -> None:
    uid = alice.submit(**fields, Preview=True)
    last: list[dict[str, Any]] = []
    deadline = time.monotonic() + 180
    while (detail := alice.detail(uid))["Status"] not in FINAL:
        assert time.monotonic() < deadline
        last = previews(alice, uid) or last
        assert previews(bob, uid) == []
        time.sleep(0.1)
    assert detail["Status"] == "Finished", detail
    assert previews(alice, uid) == []
    [preview] = last
    assert preview["ImageIndex"] == 0
    rough = picture_of(preview)
    assert max(rough.size) <= 64

    result = alice.download(detail["ImgList"][0])
    with Image.open(io.BytesIO(fields["images"][0])) as cup:
        outside = np.asarray(cup.resize(rough.size, Image.Resampling.BOX))[..., 3] == 0
    small = np.asarray(result.resize(rough.size, Image.Resampling.BOX)).astype(float)
    difference = np.asarray(rough).astype(float)[outside] - small[outside]
    assert np.abs(difference.mean(axis=0)).max() < 40

    _, [plain] = alice.generate(**fields)
    np.testing.assert_array_equal(np.asarray(result), np.asarray(plain))
