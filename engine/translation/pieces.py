"""A prompt -> what may be translated, and what may not: syntax, numbers, words of the models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.prompt_syntax import trigger_pattern

# Brackets with their weights, escapes, tags, BREAK, and whatever parts phrases. Quantifiers are
# possessive and runs bounded by what ends them, so no prompt takes long.
_SYNTAX = re.compile(
    r"""
      <[^<>]*+>
    | \\.
    | [()\[\]{}|]
    | :\s*+[+-]?[0-9.]++
    | \bBREAK\b
    | [,;.!?\n\r\t"/+=*&@#%^~_:]++
    | [，、；。！？：「」『』（）【】《》·…]++
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a prompt.

    Attributes:
        text: as written.
        is_phrase: whether it is words of a language, to be translated in one go.
    """

    text: str
    is_phrase: bool


def pieces_of(prompt: str, keep: Sequence[str]) -> list[Piece]:
    """Cuts a prompt; the texts of all pieces in a row are the prompt again.

    Args:
        prompt: any text.
        keep: words that stay as they are in any case: triggers and names of embeddings.
    """
    words = trigger_pattern(sorted({word for word in keep if word.strip()}, key=len, reverse=True))
    marks = sorted(
        [*_SYNTAX.finditer(prompt), *words.finditer(prompt)],
        key=lambda mark: (mark.start(), -mark.end()),
    )
    return list(_pieces(prompt, marks))


def _pieces(prompt: str, marks: Sequence[re.Match[str]]) -> Iterator[Piece]:
    position = 0
    for mark in marks:
        if mark.end() <= position:  # inside one that came before, or empty
            continue
        start = max(mark.start(), position)
        yield from _phrase(prompt[position:start])
        yield Piece(prompt[start : mark.end()], is_phrase=False)
        position = mark.end()
    yield from _phrase(prompt[position:])


def _phrase(text: str) -> Iterator[Piece]:
    """The phrase, and the spaces around it by themselves."""
    phrase = text.strip()
    start = text.find(phrase)
    for part in (text[:start], phrase, text[start + len(phrase) :]):
        if part:
            yield Piece(part, is_phrase=any(char.isalpha() for char in part))
