from __future__ import annotations

import hashlib
import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.errors import BadSignature, MissingSignature
from api.rawjson import parse_object
from api.signing import _forms, sign, verify
from tests.api.wire import signature

KEY = "123456"
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
        '{"Action":"GenerateBackgrounds","PublicKey":"abcdefg","request_uuid":"u-1",'
        '"MainModel":{"ModelCode":"PICPIK General","InferenceParams":{"Steps":10}},'
        '"BackgroundImage2Image":{"ImageIndex":1,"ReferStrength":0.3,"ResizeMode":"ResizeAndFill"},'
        '"NegativePrompts":[],"PositivePrompts":["blue sky","white cloud"],'
        '"TranslatePrompts":false,"TransparentImageIndexList":[0],"ImageList":["QUJD","REVG"]}',
        "38d334eba23d78eaac5640338d17649063777978",
    ),
    (
        '{"Action":"GenerateBackgrounds","PublicKey":"abcdefg","PositivePrompts":["蓝天","caf\u00e9"],'
        '"SubModelList":[{"ModelCode":"m1","InferenceParams":{"LoraWeight":1.0}},'
        '{"ModelCode":"m2","InferenceParams":{"LoraWeight":0.75}}],'
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
EXPONENT_QUIRK = "32a4175a516379d48df338404a4e4558076d0527"  # of vector 6, by T's Python signer

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(-1e15, 1e15).filter(lambda x: x == 0 or abs(x) > 1e-20)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=10,
)


def check(body: str | bytes, **added: str) -> None:
    params = parse_object(body.encode() if isinstance(body, str) else body)
    verify({**params, **added}, KEY)


def sha1(text: str) -> str:
    return hashlib.sha1(f"{text}{KEY}".encode()).hexdigest()


@pytest.mark.parametrize(("body", "expected"), VECTORS)
def test_published_and_computed_vectors_are_accepted(body: str, expected: str):
    check(body, Signature=expected)


@pytest.mark.parametrize(("body", "expected"), VECTORS)
def test_a_client_signs_the_vectors(body: str, expected: str):
    assert sign(json.loads(body), KEY) == expected
    assert sign({**json.loads(body), "Signature": "stale"}, KEY) == expected


@pytest.mark.parametrize("text", ["0.00001", "1e-05", "1E-5", "0.000010"])
def test_a_small_float_is_accepted_in_decimal_and_exponent_form(text: str):
    body = VECTORS[5][0].replace("0.00001", text)
    check(body, Signature=VECTORS[5][1])
    check(body, Signature=EXPONENT_QUIRK)


@settings(max_examples=40)
@given(st.dictionaries(st.text(min_size=1, max_size=4), json_values, max_size=4))
def test_an_independent_signer_agrees(fields):
    fields.pop("signature", None)
    fields.pop("Signature", None)
    assert sign(fields, KEY) == signature(fields, KEY)
    check(json.dumps(fields), Signature=signature(fields, KEY))


@pytest.mark.parametrize(
    ("text", "signed"),
    [
        ("42.0", ["42", "42.0"]),
        ("1.50", ["1.5", "1.50"]),
        ("1e2", ["100", "1e2"]),
        ("-0.0", ["0", "-0.0"]),
        ("0.00001", ["0.00001", "1e-05"]),
        ("1e-5", ["0.00001", "1e-5", "1e-05"]),
        ("1e22", ["10000000000000000000000", "1e22"]),
        ("2.053907908819111e16", ["20539079088191110", "20539079088191112"]),
        ("7", ["7"]),
        ("-1", ["-1"]),
    ],
)
def test_numbers_are_accepted_in_the_documented_forms_only(text: str, signed: list[str]):
    body = f'{{"A":{text}}}'
    for form in signed:
        check(body, Signature=sha1(f"A{form}"))
    for other in ({"42", "42.0", "4.2e1", "100.0", "0", "7.0"} - set(signed)) | {""}:
        with pytest.raises(BadSignature):
            check(body, Signature=sha1(f"A{other}"))


def test_null_keeps_its_name_or_goes_with_it():
    body = '{"A":"x","B":null,"C":{"D":null},"E":[null]}'
    check(body, Signature=sha1("AxBCDE"))
    check(body, Signature=sha1("AxCE"))
    with pytest.raises(BadSignature):
        check(body, Signature=sha1("AxBCE"))  # one form for all nulls


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ('{"A":1,"B":"x"}', 1),
        ('{"A":0.3}', 1),
        ('{"A":1.0}', 2),
        ('{"A":null}', 2),
        ('{"A":1e-5,"B":[{"C":null}]}', 6),
        ('{"A":[1e-5,1.0,2.50,1e20],"B":null,"C":[null,0.1]}', 6),
    ],
)
def test_no_more_forms_are_tried_than_can_differ(body: str, count: int):
    assert len(list(_forms(parse_object(body.encode())))) == count


def test_every_combination_of_forms_is_accepted():
    body = '{"A":1e-5,"B":null,"C":2.50}'
    floats = [("0.00001", "2.5"), ("1e-5", "2.50"), ("1e-05", "2.5")]
    for (small, large), null in product(floats, ["B", ""]):
        check(body, Signature=sha1(f"A{small}{null}C{large}"))
    with pytest.raises(BadSignature):
        check(body, Signature=sha1("A1e-5BC2.5"))  # one form for all floats


def test_lower_case_signature_is_a_fallback():
    check('{"A":"x"}', signature=sha1("Ax"))
    with pytest.raises(BadSignature):
        check('{"A":"x"}', Signature="0" * 40, signature=sha1("Ax"))
    # Beside a Signature it is a parameter like any other.
    check('{"A":"x"}', Signature=sha1("Axsignatureabc"), signature="abc")


@pytest.mark.parametrize(
    "body", ['{"A":1}', '{"Signature":null}', '{"Signature":""}', '{"signature":""}']
)
def test_a_missing_signature_is_told_as_such(body: str):
    with pytest.raises(MissingSignature):
        check(body)


@pytest.mark.parametrize(
    "given_signature",
    ["1", '"abc"', "true", '["x"]', '"\u00e9"', f'"{sha1("Ax").upper()}"', f'"{sha1("Ax")} "'],
)
def test_anything_else_than_the_exact_text_is_wrong(given_signature: str):
    with pytest.raises(BadSignature):
        check(f'{{"A":"x","Signature":{given_signature}}}')


def test_a_large_image_is_signed_whole():
    image = "A" * 3_000_000
    check(json.dumps({"ImageList": [image]}), Signature=sha1("ImageList" + image))
    with pytest.raises(BadSignature):
        check(json.dumps({"ImageList": [image]}), Signature=sha1("ImageList" + image[:128]))
