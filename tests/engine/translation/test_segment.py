from __future__ import annotations

import time

import pytest

from engine.translation.glossary import Kind, glossary_of
from engine.translation.segment import segment


@pytest.mark.parametrize(
    ("code", "phrase", "sources"),
    [
        ("zh", "沙滩上的日落", ["沙滩", "上", "的", "日落"]),
        ("zh", "藍天白雲", ["藍天", "白", "雲"]),
        ("ja", "木のテーブルの上", ["木のテーブル", "の上"]),
        ("ko", "푸른 하늘과 흰 구름", ["푸른 하늘", "과", "흰", "구름"]),
        ("th", "ท้องฟ้าสีฟ้ากับเมฆสีขาว", ["ท้องฟ้าสีฟ้า", "กับ", "เมฆ", "สีขาว"]),
        ("fr", "coucher de soleil rouge", ["coucher de soleil", "rouge"]),
        ("vi", "bầu trời xanh", ["bầu trời xanh"]),
    ],
)
def test_the_longest_words_are_taken(code: str, phrase: str, sources: list[str]):
    assert [token.source for token in segment(phrase, glossary_of(code))] == sources


@pytest.mark.parametrize(
    ("word", "english"),
    [
        ("Betonwand", ["concrete", "wall"]),
        ("Winterabend", ["winter", "evening"]),
        ("Seidenstoff", ["silk", "fabric"]),
        ("Studiohintergrund", ["studio", "background"]),
        ("Quarkwand", ["Quarkwand"]),
    ],
)
def test_compounds_are_cut_only_where_all_parts_are_known(word: str, english: list[str]):
    assert [token.english for token in segment(word, glossary_of("de"))] == english


@pytest.mark.parametrize(
    ("code", "phrase", "unknown"),
    [
        ("ja", "きのこの森", "きのこ"),
        ("zh", "水晶桌子", "水晶"),
        ("zh", "Nike球衣 白色", "Nike球衣"),
        ("ko", "이젤 위", "이젤"),
        ("fr", "ciel 42 km", "42 km"),
    ],
)
def test_what_is_unknown_stays_whole(code: str, phrase: str, unknown: str):
    tokens = segment(phrase, glossary_of(code))
    assert unknown in [token.source for token in tokens if token.kind is Kind.UNKNOWN]


@pytest.mark.parametrize(
    ("code", "phrase"),
    [("de", "ü" * 10_000), ("de", "holz" * 2_500), ("es", "mesa " * 2_000), ("zh", "的" * 10_000)],
)
def test_the_longest_prompt_takes_no_long_time(code: str, phrase: str):
    glossary = glossary_of(code)
    begin = time.process_time()
    segment(phrase, glossary)
    assert time.process_time() - begin < 2
