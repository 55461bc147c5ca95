from __future__ import annotations

import csv
from pathlib import Path

import pytest

from engine.translation.glossary import (
    FUNCTION_WORDS,
    Kind,
    english_words,
    glossary_of,
    normalized,
    words_of,
)
from engine.translation.languages import LANGUAGES
from scripts.train_embedded.words import SYNONYMS


@pytest.fixture(scope="module")
def rows(root: Path) -> list[dict[str, str]]:
    table = (root / "engine" / "translation" / "glossary.tsv").read_text(encoding="utf-8")
    return list(csv.DictReader(table.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def test_every_meaning_of_one_word_is_named_in_every_language(rows: list[dict[str, str]]):
    for row in rows:
        assert row.keys() == {"english", "kind", *LANGUAGES}
        if Kind(row["kind"]) not in FUNCTION_WORDS and " " not in row["english"]:
            assert [code for code in LANGUAGES if not row[code]] == [], row["english"]


def test_no_cell_has_an_empty_or_padded_variant(rows: list[dict[str, str]]):
    for row in rows:
        for code in LANGUAGES:
            for form in row[code].split("/") if row[code] else ():
                assert form == form.strip() != "", (row["english"], code)


def test_all_that_the_embedded_model_is_told_of_is_english():
    spoken = " ".join(word for words in SYNONYMS.values() for word in words)
    assert set(words_of(spoken.lower())) <= english_words()


@pytest.mark.parametrize(
    ("code", "forms", "english"),
    [
        ("de", "blauer blaue blaues blauem blauen", "blue"),
        ("ru", "синий синее синего синем синими", "blue"),
        ("ru", "облако облака облаками облаков", "clouds"),
        ("es", "nube nubes", "clouds"),
        ("it", "nuvola nuvole", "clouds"),
        ("fr", "blanc blanche blancs blanches", "white"),
        ("pt", "azul azuis", "blue"),
        ("tr", "masa masanın masada masalar", "table"),
        ("fr", "forêt foret FORÊT", "forest"),
    ],
)
def test_inflected_words_are_found(code: str, forms: str, english: str):
    glossary = glossary_of(code)
    for form in forms.split():
        entry = glossary.of_words([normalized(form, glossary.language)])
        assert entry is not None, form
        assert entry.english == english, form


def test_function_words_are_found_as_they_stand_alone():
    assert glossary_of("fr").of_words(["avecs"]) is None


@pytest.mark.parametrize(
    ("code", "text", "normal"),
    [
        ("zh", "藍天", "蓝天"),
        ("tr", "IŞIK İpek", "ışık ipek"),
        ("ru", "ТЁМНЫЙ", "темный"),
        ("de", "Straße", "straße"),
    ],
)
def test_spellings_become_one_without_moving_a_character(code: str, text: str, normal: str):
    assert normalized(text, LANGUAGES[code]) == normal
    assert len(text) == len(normal)


def test_an_apostrophe_ends_a_word_and_a_hyphen_does_not():
    assert words_of("l'herbe arc-en-ciel - 3 d’été") == ["l'", "herbe", "arc-en-ciel", "d’", "été"]
