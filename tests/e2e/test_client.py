"""The tests' own signer agrees with the protocol page's vectors (section 2)."""

from __future__ import annotations

import json

import pytest

from tests.e2e.client import sign

VECTORS = [
    (
        '{"Action":"ListModels","PublicKey":"abcdefg"}',
        "4a20bc1141494035f6aaaad13224c94c5a8bc3a5",
    ),
    (
        '{"Action":"StartPicpikApp","PublicKey":"abcdefg","AppId":"your_app_id"}',
        "c5e65ad1936ff695436917bf807d2281db33e7a3",
    ),
    (
        '{"Action":"GenerateBackgrounds","PublicKey":"abcdefg","request_uuid":"u-1","MainModel":'
        '{"ModelCode":"PICPIK General","InferenceParams":{"Steps":10}},"BackgroundImage2Image":'
        '{"ImageIndex":1,"ReferStrength":0.3,"ResizeMode":"ResizeAndFill"},"NegativePrompts":[],'
        '"PositivePrompts":["blue sky","white cloud"],"TranslatePrompts":false,'
        '"TransparentImageIndexList":[0],"ImageList":["QUJD","REVG"]}',
        "38d334eba23d78eaac5640338d17649063777978",
    ),
    (
        '{"Action":"GenerateBackgrounds","PublicKey":"abcdefg","PositivePrompts":'
        '["\\u84dd\\u5929","caf\\u00e9"],"SubModelList":[{"ModelCode":"m1","InferenceParams":'
        '{"LoraWeight":1.0}},{"ModelCode":"m2","InferenceParams":{"LoraWeight":0.75}}],'
        '"TransparentForeground":{"ImageIndex":0},"Seed":-1,"UseMainModelVAE":true}',
        "871926cc1da118c3f3507b3d76e9d811f0eb942d",
    ),
    (
        '{"Action":"ListTasksDetails","PublicKey":"abcdefg","TaskUIDList":[],"request_uuid":null}',
        "286a339577fe13d4ce03edb1b14962c19a611312",
    ),
    (
        '{"Action":"GenerateBackgrounds","PublicKey":"abcdefg",'
        '"BackgroundImage2Image":{"ReferStrength":0.00001}}',
        "758d4c1c44be1fb6c3d6e883f2c5c7539c4cf5f2",
    ),
]


@pytest.mark.parametrize(("body", "signature"), VECTORS)
def test_signatures_equal_the_protocols_vectors(body: str, signature: str) -> None:
    assert sign(json.loads(body), "123456") == signature
