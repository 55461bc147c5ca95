"""A phrase -> its words, each with its entry of the glossary; what is not in it stays as it is."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.translation.glossary import (
    FUNCTION_WORDS,
    NOUNS,
    Entry,
    Glossary,
    Kind,
    normalized,
    word_spans,
)

# What German puts between the parts of a compound: Sonne-n-untergang, Frühling-s-tag.
_LINKERS = ("", "s", "n", "en", "es", "er", "e")
_MIN_PART_CHARS = 3
_MAX_WORD_CHARS = 60  # no language here writes longer ones; cutting up a word takes time


@dataclass(frozen=True, slots=True)
class Token:
    """One word of a phrase.

    Attributes:
        source: as written.
        english: "" where it is left out; `source` where it is unknown.
        kind: its part of speech.
    """

    source: str
    english: str
    kind: Kind


def segment(phrase: str, glossary: Glossary) -> list[Token]:
    """Cuts a phrase into the longest words the glossary has.

    Args:
        phrase: without punctuation that parts phrases.
        glossary: of its language.
    """
    phrase = unicodedata.normalize("NFC", phrase)  # as the glossary is; macOS sends letters apart
    if glossary.language.has_spaces:
        return list(_by_words(phrase, glossary))
    return _by_characters(phrase, glossary)


def _by_words(phrase: str, glossary: Glossary) -> Iterator[Token]:
    normal = normalized(phrase, glossary.language)
    spans = list(word_spans(normal))
    words = [normal[start:end] for start, end in spans]
    index = known_end = 0
    while index < len(spans):
        length, entries = _longest(words[index : index + glossary.max_length], glossary)
        start, end = spans[index][0], spans[index + length - 1][1]
        index += length
        if entries:
            yield from _unknown_in(phrase[known_end:start])
            yield from (Token(phrase[start:end], entry.english, entry.kind) for entry in entries)
            known_end = end
    yield from _unknown_in(phrase[known_end:])


def _unknown_in(text: str) -> Iterator[Token]:
    """What stands between known words, numbers and signs included, as it is written."""
    if text.strip():
        yield _unknown(text.strip())


def _longest(words: Sequence[str], glossary: Glossary) -> tuple[int, tuple[Entry, ...]]:
    """How many of `words` the longest entry takes, and the entry: several for a compound."""
    if len(words[0]) > _MAX_WORD_CHARS:
        return 1, ()
    for length in range(len(words), 0, -1):
        if entry := glossary.of_words(words[:length]):
            return length, (entry,)
    return 1, _parts(words[0], glossary) if glossary.language.compounds else ()


def _parts(word: str, glossary: Glossary) -> tuple[Entry, ...]:
    """A compound's parts, the first as long as possible; none where any of it is unknown."""
    for cut in range(len(word) - _MIN_PART_CHARS, _MIN_PART_CHARS - 1, -1):
        for linker in _LINKERS:
            first = glossary.of_words((word[:cut].removesuffix(linker),))
            if first is None or not word[:cut].endswith(linker) or not _is_part(first):
                continue
            rest = glossary.of_words((word[cut:],))
            if rest is not None and rest.kind in NOUNS:
                return first, rest
    return ()


def _is_part(entry: Entry) -> bool:
    return entry.kind in NOUNS or entry.kind is Kind.ADJECTIVE


def _by_characters(phrase: str, glossary: Glossary) -> list[Token]:
    """Fewest unknown characters, then fewest words."""
    places = [index for index, char in enumerate(phrase) if not char.isspace()]
    text = normalized("".join(phrase[index] for index in places), glossary.language)
    # best[n] is of the first n characters: unknown ones, words, where the last word starts.
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for end in range(1, len(text) + 1):
        unknown, words, _ = best[end - 1]
        choices = [(unknown + 1, words, end - 1)]
        for start in range(max(0, end - glossary.max_length), end):
            if glossary.of_text(text[start:end]) is not None:
                choices.append((best[start][0], best[start][1] + 1, start))
        best.append(min(choices))
    tokens: list[Token] = []
    end = len(text)
    while end:
        start = best[end][2]
        source = phrase[places[start] : places[end - 1] + 1]
        entry = glossary.of_text(text[start:end]) or Entry(source, Kind.UNKNOWN)
        tokens.append(Token(source, entry.english, entry.kind))
        end = start
    return _joined_unknown(tokens[::-1], phrase)


def _joined_unknown(tokens: Sequence[Token], phrase: str) -> list[Token]:
    """Unknown characters in a row as one word, with what only seems to be a word before them.

    A single character is no particle or noun where unknown ones follow: きのこ holds no の, and
    水晶 no water.
    """
    joined: list[Token] = []
    place = 0
    for token in tokens:
        gap = phrase.find(token.source, place) - place
        place += gap + len(token.source)
        if token.kind is Kind.UNKNOWN and joined and gap == 0:
            last = joined[-1]
            if last.kind in FUNCTION_WORDS | NOUNS and len(last.source) == 1:
                last = joined.pop()
                token = _unknown(last.source + token.source)
                last = joined[-1] if joined else last
            if joined and last.kind is Kind.UNKNOWN:
                token = _unknown(joined.pop().source + token.source)
        joined.append(token)
    return joined


def _unknown(source: str) -> Token:
    return Token(source, source, Kind.UNKNOWN)
