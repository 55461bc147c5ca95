from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.errors import MalformedRequest
from api.rawjson import MAX_DEPTH, JsonNumber, parse_object, plain

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=15,
)


def nested(depth: int) -> bytes:
    """An object whose innermost array is at `depth`; the object itself is at 1."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_numbers_keep_their_text():
    parsed = parse_object(b'{"a": 1.50, "b": 1e-05, "c": 7, "d": -0}')
    texts = {name: value.text for name, value in parsed.items()}
    assert texts == {"a": "1.50", "b": "1e-05", "c": "7", "d": "-0"}
    assert [value.is_int for value in parsed.values()] == [False, False, True, True]


def test_plain_turns_numbers_into_python_numbers():
    value = plain(parse_object(b'{"a": [1, 2.5, {"b": 0.1}], "c": true, "d": null, "e": "1"}'))
    assert value == {"a": [1, 2.5, {"b": 0.1}], "c": True, "d": None, "e": "1"}


@pytest.mark.parametrize(
    ("text", "value"), [("10", 10), ("10.0", 10), ("1e1", 10), ("-0.0", 0), ("1e30", 10**30)]
)
def test_a_number_without_fraction_is_an_int(text: str, value: int):
    number = JsonNumber(text).value()
    assert type(number) is int
    assert number == pytest.approx(value)


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
def test_ordinary_json_reads_as_any_parser_reads_it(value: dict[str, Any]):
    assert plain(parse_object(json.dumps(value).encode())) == value
    assert plain(parse_object(json.dumps(value, ensure_ascii=False).encode())) == value


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_an_object_or_refused(body: bytes):
    with suppress(MalformedRequest):
        assert isinstance(parse_object(body), dict)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b'{"a":01}', "not JSON"),
        (b'{"a":"\n"}', "not JSON"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON"),
        (b'{"a":1} {"b":2}', "not JSON"),
        (b'{"a":"\xff"}', "not UTF-8"),
        ('{"a":"é"}'.encode("latin-1"), "not UTF-8"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"12", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a":1,"a":1}', "same name twice"),
        (b'{"x":{"a":1,"\\u0061":2}}', "same name twice"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":[Infinity]}', "Infinity is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
        (b'{"a":"\\ud800"}', "lone surrogate"),
        (b'{"\\udfff":1}', "lone surrogate"),
        (b'{"a":"\\udc00\\ud800"}', "lone surrogate"),
        (nested(MAX_DEPTH + 1), "deeper than 16"),
        (nested(400), "deeper than 16"),
        (nested(50_000), "deeper than 16"),
        (b'{"a":' + b'{"a":' * 40_000 + b"1" + b"}" * 40_001, "deeper than 16"),
        (b'{"a":' + b"1" * 41 + b"}", "more than 40 characters"),
        (b'{"a":0.' + b"1" * 39 + b"}", "more than 40 characters"),
        (b'{"a":' + b"9" * 1_000_000 + b"}", "more than 40 characters"),
        (b'{"a":1e31}', "exponent beyond 30"),
        (b'{"a":1E-31}', "exponent beyond 30"),
        (b'{"a":1.5e+999999999999}', "exponent beyond 30"),
    ],
)
def test_hostile_bodies_are_refused(body: bytes, reason: str):
    with pytest.raises(MalformedRequest) as caught:
        parse_object(body)
    assert caught.value.ret_code == 230
    assert reason in caught.value.message
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "body",
    [
        nested(MAX_DEPTH),
        b'{"a":' + b"1" * 40 + b"}",
        b'{"a":1e30,"b":1e-30}',
        b'{"a":"\\ud83d\\ude00"}',
        b'{"a":"' + b"[{," * 10_000 + b'"}',
    ],
)
def test_the_limits_themselves_are_allowed(body: bytes):
    assert "a" in parse_object(body)


@pytest.mark.parametrize("unit", [b"[],", b"{},", b"1,", b'"",', b"[", b'{"a":'])
def test_a_body_of_countless_values_is_refused_before_it_is_parsed(unit: bytes):
    body = b'{"a":[' + unit * (8_000_000 // len(unit))
    tracemalloc.start()
    with pytest.raises(MalformedRequest, match="more than 100000 values"):
        parse_object(body)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 100_000


def test_the_largest_number_of_values_is_cheap():
    body = b'{"a":[' + b",".join([b"[]"] * 49_000) + b"]}"
    assert len(parse_object(body)["a"]) == 49_000


def test_numbers_compare_by_text():
    assert JsonNumber("1.0") != JsonNumber("1")
