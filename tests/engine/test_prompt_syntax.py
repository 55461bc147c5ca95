"""Emphasis, escapes, BREAK and refused tags, read from text alone."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadPrompt, JobError, ParameterOutOfRange
from engine.prompt_syntax import MAX_WEIGHT, parse_prompt

SYNTAX = st.text(
    alphabet=st.one_of(st.sampled_from("()[]:\\.,<> ab019-+BREAK"), st.characters()), max_size=80
)
PLAIN = st.text(alphabet=st.characters(exclude_characters="()[]\\"), max_size=80).filter(
    lambda text: "BREAK" not in text and "<" not in text
)


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        ("blue sky", [("blue sky", 1)]),
        ("a (blue) sky", [("a ", 1), ("blue", 1.1), (" sky", 1)]),
        ("((blue))", [("blue", 1.21)]),
        ("(blue:1.3)", [("blue", 1.3)]),
        ("(blue:.5)", [("blue", 0.5)]),
        ("(blue: 2 )", [("blue", 2)]),
        ("(blue:0)", [("blue", 0)]),
        ("[blue]", [("blue", 1 / 1.1)]),
        ("[[blue]]", [("blue", 1 / 1.21)]),
        ("(a [b] c:2)", [("a ", 2), ("b", 2 / 1.1), (" c", 2)]),
        ("((a:2) b:3)", [("a", 6), (" b", 3)]),
        ("(sky: blue:1.2)", [("sky: blue", 1.2)]),
        (r"a \(b\) \[c\] \\", [(r"a (b) [c] " + "\\", 1)]),
        (r"\((a)\)", [("(", 1), ("a", 1.1), (")", 1)]),
        (r"C:\new", [(r"C:\new", 1)]),
        ("a (b", [("a ", 1), ("b", 1.1)]),
        ("a) b]", [("a) b]", 1)]),
        ("[a:1.3)", [("a:1.3)", 1 / 1.1)]),
        ("(a [b) c]", [("a ", 1.1), ("b) c", 1)]),
        ("(a:b)", [("a:b", 1.1)]),
        ("a:1.3", [("a:1.3", 1)]),
        ("() [ ] (:2)", []),
    ],
)
def test_emphasis_is_read_as_the_usual_web_uis_do(
    prompt: str, pieces: list[tuple[str, float]]
) -> None:
    read = [(piece.text, piece.weight) for section in parse_prompt(prompt) for piece in section]
    assert [text for text, _ in read] == [text for text, _ in pieces]
    assert [weight for _, weight in read] == pytest.approx([weight for _, weight in pieces])


@pytest.mark.parametrize(
    ("prompt", "sections"),
    [
        ("a BREAK b", [["a "], [" b"]]),
        ("a\nBREAK\nb BREAK c", [["a\n"], ["\nb "], [" c"]]),
        ("BREAK a BREAK BREAK", [[" a "]]),
        ("a BREAKFAST break", [["a BREAKFAST break"]]),
        ("(a BREAK b) c", [["a "], [" b", " c"]]),
        ("", []),
        (" \n", []),
    ],
)
def test_break_ends_a_section_and_empty_sections_vanish(
    prompt: str, sections: list[list[str]]
) -> None:
    assert [[piece.text for piece in section] for section in parse_prompt(prompt)] == sections


def test_emphasis_reaches_over_a_break() -> None:
    assert [[p.weight for p in section] for section in parse_prompt("(a BREAK b:2) c")] == [
        [2.0],
        [2.0, 1.0],
    ]


@pytest.mark.parametrize(
    "tag",
    ["<lora:style:1>", "<LoRA:style>", "< lyco : a b : 0.5 : 1 >", "<hypernet:x:1>", "<lora::>"],
)
@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_network_tag_is_refused_with_a_hint(tag: str, field: str) -> None:
    with pytest.raises(BadPrompt, match="SubModelList") as caught:
        parse_prompt(f"sky, {tag} sea", field=field)
    assert caught.value.field == field
    assert repr(tag) in str(caught.value)


@pytest.mark.parametrize("text", ["<cat-toy>", "a < b", "<lora", "lora:x:1", "<lora:<3"])
def test_other_angle_brackets_are_text(text: str) -> None:
    assert [piece.text for section in parse_prompt(text) for piece in section] == [text]


@pytest.mark.parametrize(
    "prompt",
    ["(a:10.5)", "(a:-1)", "(time 10:30)", "(a:" + "9" * 400 + ")", "(" * 30 + "a", "((a:9):9)"],
)
def test_a_weight_out_of_range_is_refused(prompt: str) -> None:
    with pytest.raises(ParameterOutOfRange, match=r"not 0\.\.10") as caught:
        parse_prompt(prompt, field="negative_prompt")
    assert caught.value.field == "negative_prompt"
    assert len(str(caught.value)) < 200


@settings(deadline=None)
@given(SYNTAX)
def test_any_text_is_read_or_refused_and_weights_are_bounded(prompt: str) -> None:
    try:
        sections = parse_prompt(prompt)
    except JobError:
        return
    for section in sections:
        assert section
        for piece in section:
            assert 0.0 <= piece.weight <= MAX_WEIGHT
            assert piece.text.strip()


@settings(deadline=None)
@given(PLAIN)
def test_text_without_syntax_is_one_piece_unchanged(prompt: str) -> None:
    pieces = [piece for section in parse_prompt(prompt) for piece in section]
    assert [(piece.text, piece.weight) for piece in pieces] == (
        [(prompt, 1.0)] if prompt.strip() else []
    )


@settings(deadline=None)
@given(st.text(max_size=60).filter(lambda text: "BREAK" not in text and "<" not in text))
def test_escaped_text_means_itself(text: str) -> None:
    escaped = "".join(f"\\{each}" if each in "()[]\\" else each for each in text)
    pieces = [piece for section in parse_prompt(escaped) for piece in section]
    assert "".join(piece.text for piece in pieces) == (text if text.strip() else "")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["(", "[", ")", "]", ":1.2)", " a"]), max_size=40))
def test_only_brackets_and_weights_that_act_leave_the_text(parts: list[str]) -> None:
    words = "".join(p.text for s in parse_prompt("".join(parts)) for p in s)
    assert words.count("a") == parts.count(" a")


@pytest.mark.parametrize(
    "prompt", ["(" * 50_000, ":" + "1" * 50_000, ": " * 50_000, "<lora:" * 10_000, "[(" * 25_000]
)
def test_reading_takes_linear_time(prompt: str) -> None:
    start = time.perf_counter()
    parse_prompt(prompt)
    assert time.perf_counter() - start < 2.0
