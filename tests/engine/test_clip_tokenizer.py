"""The shipped CLIP vocabulary against the published one and its own merging rule."""

from __future__ import annotations

from itertools import pairwise

import pytest

from engine.clip_tokenizer import clip_tokenizer

CLIP, OPEN_CLIP = clip_tokenizer("<|endoftext|>"), clip_tokenizer("!")


def ids(text: str) -> list[int]:
    return list(CLIP(text, add_special_tokens=False, split_special_tokens=True).input_ids)


@pytest.mark.parametrize(
    ("text", "expected"),  # as OpenAI's own tokenizer answers
    [
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("hello world!", [3306, 1002, 256]),
        ("A  Photo OF a CAT", [320, 1125, 539, 320, 2368]),
    ],
)
def test_texts_have_their_published_ids(text: str, expected: list[int]) -> None:
    assert ids(text) == expected


def test_the_vocabulary_is_complete() -> None:
    assert len(CLIP) == 49408
    assert (CLIP.bos_token_id, CLIP.eos_token_id) == (49406, 49407)
    assert CLIP.model_max_length == OPEN_CLIP.model_max_length == 77


def test_open_clip_pads_with_the_exclamation_mark_and_clip_with_end_of_text() -> None:
    assert OPEN_CLIP("a", padding="max_length").input_ids[3:] == [0] * 74
    assert CLIP("a", padding="max_length").input_ids[3:] == [49407] * 74


@pytest.mark.parametrize("text", ["naïve café, 蓝天 🐈", "don't 3.14 <tag> ---", "x" * 60])
def test_any_text_is_split_by_the_rule_of_merging_the_lowest_rank_first(text: str) -> None:
    assert ids(text) == [token for word in _words(text) for token in _merged(word)]


def _words(text: str) -> list[list[str]]:
    """CLIP's words as lists of vocabulary letters, the last with its end mark."""
    pieces = CLIP.backend_tokenizer.pre_tokenizer.pre_tokenize_str(
        CLIP.backend_tokenizer.normalizer.normalize_str(text)
    )
    return [[*piece[:-1], piece[-1] + "</w>"] for piece, _ in pieces]


def _merged(word: list[str]) -> list[int]:
    """Byte-pair merging; a merge's rank is the id of its result."""
    vocabulary = CLIP.get_vocab()
    while len(word) > 1:
        pairs = [left + right for left, right in pairwise(word)]
        ranked = [vocabulary[pair] for pair in pairs if vocabulary.get(pair, 0) >= 512]
        if not ranked:
            break
        best = next(pair for pair in pairs if vocabulary.get(pair) == min(ranked))
        at = pairs.index(best)
        word = [*word[:at], best, *word[at + 2 :]]
    return [vocabulary[part] for part in word]
