"""Words of a phrase, in the order of their language -> English words in English order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

from engine.translation.glossary import NOUNS, Kind
from engine.translation.languages import WordOrder
from engine.translation.segment import Token

# One word of other languages is any of "in", "on" and "at"; what stands behind it decides.
_PLACES = frozenset({"in", "on", "at"})
_AT = frozenset({"sunset", "sunrise", "night", "noon", "dusk", "golden hour"})
_ON = frozenset(
    [
        "beach",
        "bench",
        "chair",
        "countertop",
        "desk",
        "floor",
        "grass",
        "meadow",
        "pedestal",
        "plate",
        "podium",
        "sand",
        "shelf",
        "snow",
        "stairs",
        "surface",
        "table",
        "tablecloth",
        "tray",
    ]
)


def in_english_order(tokens: Sequence[Token], order: WordOrder) -> list[str]:
    """The English of a phrase's words, without those that English has no word for.

    Args:
        tokens: of one phrase.
        order: of their language.
    """
    said = [token for token in tokens if token.english or token.kind is Kind.OF]
    said = _NounFirst(said).in_order() if order is WordOrder.NOUN_FIRST else _without_of(said)
    if order is WordOrder.POSTPOSITIONS:
        said = _links_first(said)
    words = [token.english for token in _fitting_places(said)]
    # 가을 단풍, autumn and autumn leaves, say the first word twice.
    return [
        word
        for word, following in zip_longest(words, words[1:], fillvalue="")
        if not f"{following} ".startswith(f"{word} ")
    ]


def _fitting_places(tokens: Sequence[Token]) -> list[Token]:
    """`in table` -> `on table`, `on sunset` -> `at sunset`."""
    fitting: list[Token] = []
    for index, token in enumerate(tokens):
        if token.kind is Kind.LINK and token.english in _PLACES:
            noun = _noun_behind(tokens[index + 1 :])
            if noun in _AT:
                token = replace(token, english="at")
            elif token.english == "in" and noun.split()[-1:] and noun.split()[-1] in _ON:
                token = replace(token, english="on")
        fitting.append(token)
    return fitting


def _noun_behind(tokens: Sequence[Token]) -> str:
    """The last noun of the noun phrase that begins there; "" where none does."""
    noun = ""
    for token in tokens:
        if token.kind in NOUNS:
            noun = token.english
        elif token.kind is not Kind.ADJECTIVE:
            break
    return noun


def _links_first(tokens: Sequence[Token]) -> list[Token]:
    """`A on B` means B on A in a language with postpositions, and `A on` means on A."""
    turned: list[Token] = []
    pending: list[Token] = []
    for token in tokens:
        if token.kind is Kind.LINK:
            turned = [token, *pending, *turned]
            pending = []
        else:
            pending.append(token)
    return [*pending, *turned]


def _without_of(tokens: Sequence[Token]) -> list[Token]:
    """`round table of white marble` -> `round white marble table`."""
    placed: list[Token] = []
    index = 0
    while index < len(tokens):
        if tokens[index].kind is not Kind.OF:
            placed.append(tokens[index])
            index += 1
            continue
        end = index + 1
        while end < len(tokens) and tokens[end].kind is Kind.ADJECTIVE:
            end += 1
        if end < len(tokens) and tokens[end].kind in NOUNS and placed and placed[-1].kind in NOUNS:
            placed[-1:] = [*tokens[index + 1 : end + 1], placed[-1]]
            index = end + 1
        else:
            index += 1
    return placed


class _NounFirst:
    """Reads noun phrases in which what describes the noun comes after it."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._index = 0

    def in_order(self) -> list[Token]:
        """All words, noun phrase by noun phrase, without "of"."""
        ordered: list[Token] = []
        while (token := self._peek()) is not None:
            if token.kind in NOUNS or token.kind is Kind.ADJECTIVE:
                ordered += self._noun_phrase()
                continue
            self._index += 1
            if token.kind is Kind.MATERIAL:
                ordered.append(replace(token, kind=Kind.LINK))
            elif token.kind is not Kind.OF:
                ordered.append(token)
        return ordered

    def _noun_phrase(self) -> list[Token]:
        """Adjectives that come first, those that come after in reverse, nouns, the noun."""
        before = self._adjectives()
        head = self._peek()
        if head is None or head.kind not in NOUNS:
            return before[::-1]  # blue light: a colour and its shade
        self._index += 1
        adjectives: list[list[Token]] = []
        nouns: list[list[Token]] = []
        while (token := self._peek()) is not None:
            if token.kind is Kind.ADJECTIVE:
                adjectives.append(self._adjective_group())
            elif self._is_of(token):
                self._index += 1
                nouns.append(self._noun_phrase())
            elif token.kind is Kind.MODIFIER or (head.kind is Kind.HEADING and token.kind in NOUNS):
                nouns.append(self._noun_phrase())
            else:
                break
        described = [*adjectives[::-1], *nouns[::-1]]
        return [*before, *(token for group in described for token in group), head]

    def _adjectives(self) -> list[Token]:
        adjectives = []
        while (token := self._peek()) is not None and token.kind is Kind.ADJECTIVE:
            adjectives.append(token)
            self._index += 1
        return adjectives

    def _adjective_group(self) -> list[Token]:
        """One adjective, or several with "and" between them, which keep their order."""
        group = [self._tokens[self._index]]
        self._index += 1
        while self._kinds(2) == [Kind.CONJUNCTION, Kind.ADJECTIVE]:
            group += self._tokens[self._index : self._index + 2]
            self._index += 2
        return group

    def _is_of(self, token: Token) -> bool:
        """Whether what follows `token` describes the noun before it."""
        described_by = self._index + 1
        if token.kind is Kind.MATERIAL:
            while self._kind_at(described_by) is Kind.ADJECTIVE:
                described_by += 1
            return self._kind_at(described_by) is Kind.MODIFIER
        return token.kind is Kind.OF and self._kind_at(described_by) in NOUNS | {Kind.ADJECTIVE}

    def _kind_at(self, index: int) -> Kind | None:
        return self._tokens[index].kind if index < len(self._tokens) else None

    def _kinds(self, count: int) -> list[Kind]:
        return [token.kind for token in self._tokens[self._index : self._index + count]]

    def _peek(self) -> Token | None:
        return self._tokens[self._index] if self._index < len(self._tokens) else None
