from __future__ import annotations

import pytest

from engine.translation.glossary_translator import GlossaryTranslator


@pytest.mark.parametrize(
    ("code", "phrase", "english"),
    [
        ("fr", "ciel bleu", "blue sky"),
        ("fr", "ciel bleu clair", "light blue sky"),
        ("fr", "une grande table ronde en bois", "large round wooden table"),
        ("fr", "un ornithorynque", "ornithorynque"),
        ("fr", "prairie en Provence", "meadow in provence"),
        ("it", "marmo bianco e nero", "white and black marble"),
        ("es", "banco del parque en otoño", "park bench in autumn"),
        ("pt", "mesa redonda de madeira", "round wooden table"),
        ("id", "dinding bata merah", "red brick wall"),
        ("vi", "nền gỗ trắng", "white wood background"),
        ("th", "กำแพงอิฐสีแดง", "red brick wall"),
        ("de", "runder Tisch aus weißem Marmor", "round white marble table"),
        ("ru", "стол из белого мрамора", "white marble table"),
        ("ja", "海の前のテーブルの上の花瓶", "vase on table in front of sea"),
        ("ko", "나무 테이블 위", "on wooden table"),
        ("zh", "雪山前的草地", "meadow in front of snowy mountains"),
        ("tr", "ahşap masa üzerinde mumlar", "candles on wooden table"),
    ],
)
def test_words_come_in_english_order(code: str, phrase: str, english: str):
    assert GlossaryTranslator().translate([phrase], code) == [english]


@pytest.mark.parametrize(
    ("code", "phrase", "english"),
    [
        ("es", "en la mesa", "on table"),
        ("es", "en el desierto", "in desert"),
        ("ru", "на закате", "at sunset"),
        ("ru", "на столе", "on table"),
        ("id", "di bangku taman", "on park bench"),
    ],
)
def test_the_noun_decides_on_in_and_at(code: str, phrase: str, english: str):
    assert GlossaryTranslator().translate([phrase], code) == [english]


def test_a_phrase_of_particles_alone_stays():
    assert GlossaryTranslator().translate(["的"], "zh") == ["的"]


def test_a_word_that_says_the_next_ones_first_word_is_left_out():
    assert GlossaryTranslator().translate(["가을 단풍"], "ko") == ["autumn leaves"]
