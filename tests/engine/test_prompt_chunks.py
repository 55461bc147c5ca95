"""Tokens fill chunks of 75; phrases and embeddings stay in one piece."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from engine.clip_tokenizer import clip_tokenizer
from engine.errors import JobError
from engine.prompt_chunks import Chunk, chunk_prompt, token_ids
from engine.prompt_syntax import parse_prompt
from engine.registry import PACKAGED_MODELS

TOKENIZER = CLIPTokenizer.from_pretrained(PACKAGED_MODELS / "embedded" / "tokenizer")
COMMA = token_ids(",", TOKENIZER)[0]
SKY = token_ids("sky", TOKENIZER)[0]


def chunks_of(prompt: str, **num_vectors: int) -> list[Chunk]:
    return chunk_prompt(parse_prompt(prompt), TOKENIZER, num_vectors)


def words(count: int) -> str:
    """A phrase of so many tokens without a comma."""
    return " ".join(["sky"] * count)


def test_a_short_prompt_is_one_chunk_of_its_tokens() -> None:
    (chunk,) = chunks_of("blue sky, white")
    assert [token.token_id for token in chunk] == token_ids("blue sky, white", TOKENIZER)
    assert {token.weight for token in chunk} == {1.0}


def test_an_empty_prompt_has_no_chunk() -> None:
    assert chunks_of("") == []


@pytest.mark.parametrize(
    ("prompt", "lengths"),
    [
        (words(75), [75]),
        (words(76), [75, 1]),
        (f"{words(60)}, {words(20)}", [61, 20]),  # the phrase moves on whole
        (f"{words(55)}, {words(20)}", [56, 20]),  # the comma is the 20th from last
        (f"{words(54)}, {words(21)}", [75, 1]),  # the comma is out of reach
        (f"{words(75)}, {words(5)}", [75, 6]),  # a phrase that fills the chunk stays in it
        (f"{words(74)}, {words(5)}", [75, 5]),
        (f"{words(10)} BREAK {words(3)}", [10, 3]),
        (f"{words(80)} BREAK {words(3)}", [75, 5, 3]),
    ],
)
def test_where_chunks_end(prompt: str, lengths: list[int]) -> None:
    assert [len(chunk) for chunk in chunks_of(prompt)] == lengths


@pytest.mark.parametrize(
    ("prompt", "lengths"),
    [
        (f"{words(70)} mark", [75]),
        (f"{words(71)} mark", [71, 5]),
        (f"{words(60)}, {words(11)} mark {words(1)}", [61, 17]),
        ("mark " * 16, [75, 5]),
    ],
)
def test_an_embedding_is_never_split(prompt: str, lengths: list[int]) -> None:
    chunks = chunks_of(prompt, mark=5)
    assert [len(chunk) for chunk in chunks] == lengths
    for chunk in chunks:
        rows = [token.vector[1] for token in chunk if token.vector]
        assert rows == list(range(5)) * (len(rows) // 5)


@pytest.mark.parametrize(
    ("prompt", "used"),
    [
        ("a mark b", ["mark"]),
        ("a MARK, b", ["mark"]),
        ("(mark:1.2)", ["mark"]),
        ("mark mark", ["mark", "mark"]),
        ("marks remark mark-2 x_mark", []),
        ("mark-one", ["mark-one"]),
        ("<toy>,<toy>", ["<toy>", "<toy>"]),
        ("two words", ["two words"]),
        ("mar\u212a", ["mark"]),  # the Kelvin sign is a letter k in another case
    ],
)
def test_trigger_words_are_found_whole_in_any_case(prompt: str, used: list[str]) -> None:
    num_vectors = {"mark": 1, "mark-one": 1, "<toy>": 1, "two words": 1}
    chunks = chunks_of(prompt, **num_vectors)
    found = [token.vector[0] for chunk in chunks for token in chunk if token.vector]
    assert found == used


def test_an_embedding_takes_the_weight_around_it() -> None:
    (chunk,) = chunks_of("sky (mark:1.5) sky", mark=2)
    assert [(t.token_id == SKY, t.weight) for t in chunk] == [
        (True, 1.0),
        (False, 1.5),
        (False, 1.5),
        (True, 1.0),
    ]


def test_an_exclamation_mark_is_text_where_it_pads_too() -> None:
    """Id 0 is what SD 2.x and SDXL's second encoder pad with; in a text "!" ends a word: id 256."""
    for tokenizer in (clip_tokenizer("<|endoftext|>"), clip_tokenizer("!")):
        (chunk,) = chunk_prompt(parse_prompt("wow! a photo,"), tokenizer, {})
        assert [token.token_id for token in chunk] == [2781, 256, 320, 1125, 267]


def test_nothing_in_a_prompt_is_an_end_token() -> None:
    (chunk,) = chunks_of("<|endoftext|> mark", mark=3)
    assert TOKENIZER.eos_token_id not in {token.token_id for token in chunk}


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["sky", ",", "(", ":1.3)", ")", "BREAK", "mark", "é", "\n", "[", "]"]),
        max_size=300,
    )
)
def test_chunks_hold_every_token_in_order(parts: list[str]) -> None:
    prompt = " ".join(parts)
    try:
        sections = parse_prompt(prompt)
    except JobError:
        return
    chunks = chunk_prompt(sections, TOKENIZER, {"mark": 7})
    assert all(1 <= len(chunk) <= 75 for chunk in chunks)
    tokens = [token for chunk in chunks for token in chunk]
    text_tokens = [token.token_id for token in tokens if token.vector is None]
    pieces = [piece.text.replace("mark", " ") for section in sections for piece in section]
    assert text_tokens == [id_ for piece in pieces for id_ in token_ids(piece, TOKENIZER)]
    rows = [token.vector[1] for token in tokens if token.vector]
    assert rows == list(range(7)) * parts.count("mark")
