from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.translate import translate_prompts, translator_for
from engine.translation.glossary import english_words
from engine.translation.pieces import pieces_of

GLOSSARY = translator_for(None)


def english(prompt: str, *keep: str) -> str:
    return translate_prompts([prompt], GLOSSARY, keep=keep).prompts[0]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("(ciel bleu:1.2), [nuages]", "(blue sky:1.2), [clouds]"),
        ("((蓝天)), (白云: 0.8)", "((blue sky)), (white clouds: 0.8)"),
        (r"himmel \(blau\)", r"sky \(blue\)"),
        ("chaise rouge BREAK plage au coucher du soleil", "red chair BREAK beach at sunset"),
        ("<lora:ciel bleu:0.5> ciel bleu", "<lora:ciel bleu:0.5> blue sky"),
        ("3 velas rojas, 50 mm, f/1.8", "3 red candles, 50 mm, f/1.8"),
        ("(ciel bleu", "(blue sky"),
        ("  ciel bleu ,  mer  ", "  blue sky ,  sea  "),
        ("沙滩，日落。", "beach, sunset"),
        ("{красный|синий} стол", "{red|blue} table"),
    ],
)
def test_syntax_and_numbers_survive(prompt: str, expected: str):
    assert english(prompt) == expected


def test_words_of_the_models_stay():
    assert english("rojo cielo azul, mi-rojo", "Rojo") == "rojo blue sky, mi-rojo"
    assert english("青空スタイル、青い空", "青空スタイル") == "青空スタイル, blue sky"
    assert english("ciel bleu", "", " ") == "blue sky"


def test_english_phrases_of_a_foreign_prompt_stay():
    prompt = "product photo, fondo blanco, soft light, 8k"
    assert english(prompt) == "product photo, white background, soft light, 8k"
    assert english("Product Photo，蓝天") == "Product Photo, blue sky"


def test_unknown_words_stay():
    assert english("ciel bleu avec un ornithorynque") == "blue sky with ornithorynque"
    assert english("蒲公英和蓝天") == "蒲公英 and blue sky"


def test_the_prompts_of_a_job_tell_the_language_together():
    both = translate_prompts(["mesa", "cielo azul con nubes blancas"], GLOSSARY)
    assert both.prompts == ("table", "blue sky with white clouds")
    assert both.languages == {"es"}
    kanji = translate_prompts(["木目、青い空", "石"], GLOSSARY)
    assert kanji.languages == {"ja"}


def test_japanese_without_kana_is_understood():
    assert english("紺色背景、木漏日") != "紺色背景、木漏日"
    assert english("砂浜、夕焼").startswith("beach, ")


def test_letters_and_their_accents_may_come_apart():
    for prompt in ("bầu trời xanh với mây trắng", "밤하늘", "forêt brumeuse"):
        assert english(unicodedata.normalize("NFD", prompt)) == english(prompt) != prompt


def test_nothing_gives_nothing():
    assert translate_prompts([], GLOSSARY).prompts == ()
    assert translate_prompts(["", " ", ",", "42"], GLOSSARY).prompts == ("", " ", ",", "42")


ENGLISH_WORDS = st.sampled_from(sorted(english_words()))
MARKS = st.text("()[]{}<>|\\:;,.!?'\"-_+*/=#@ 0123456789\n\t", min_size=1, max_size=4)


@given(st.lists(ENGLISH_WORDS | MARKS | st.just("BREAK"), max_size=30).map(" ".join))
def test_english_is_never_touched(prompt: str):
    assert english(prompt) == prompt


@given(st.text(max_size=60), st.lists(st.text(max_size=5), max_size=3))
def test_pieces_in_a_row_are_the_prompt(prompt: str, keep: list[str]):
    assert "".join(piece.text for piece in pieces_of(prompt, keep)) == prompt


@given(
    st.text(
        st.sampled_from("青空のきテ하늘과ทฟ้неo ciel bléu()[]:1,，。\\<>'-\u0301 \n"), max_size=40
    )
)
def test_any_text_is_translated_without_a_failure(prompt: str):
    translated = translate_prompts([prompt], GLOSSARY)
    brackets = [char for char in translated.prompts[0] if char in "()[]"]
    assert brackets == [char for char in prompt if char in "()[]"]
