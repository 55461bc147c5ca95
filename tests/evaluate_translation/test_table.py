"""Twenty prompts in each language, as customers write them, and the page that shows them."""

from __future__ import annotations

from collections import Counter

import pytest

from scripts.evaluate_translation.__main__ import PAGE, with_tables
from scripts.evaluate_translation.table import NAMES, Row, read_cases, translated


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return translated(read_cases())


def test_there_are_twenty_prompts_in_each_language():
    revised = Counter(case.code for case in read_cases() if not case.is_held_out)
    held_out = Counter(case.code for case in read_cases() if case.is_held_out)
    assert revised.keys() == held_out.keys() == NAMES.keys()
    assert min(revised.values()) >= 20


@pytest.mark.parametrize("code", NAMES)
def test_the_words_meant_are_in_the_english(rows: list[Row], code: str):
    own = [row for row in rows if row.case.code == code and not row.case.is_held_out]
    assert {row.case.prompt: row.missing for row in own if row.missing} == {}


def test_nine_in_ten_words_of_prompts_it_was_not_revised_with_are_found(rows: list[Row]):
    held_out = [row for row in rows if row.case.is_held_out]
    words = sum(len(row.case.meaning) for row in held_out)
    assert sum(len(row.missing) for row in held_out) <= words / 10


def test_a_missing_word_is_seen():
    case = read_cases()[0]
    assert case.missing("blue sky") == ["white cloud"]


def test_the_page_shows_what_comes_out_now():
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page
