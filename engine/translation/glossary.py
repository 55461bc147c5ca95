"""The glossary: English words and what they are called in the other languages.

`glossary.tsv` has a row for each meaning: the English, its kind, and a column for each language
with variants parted by "/". Inflected words are found by their stems, so a cell names base forms
and what a stemmer does not see through. A row without English lists words that are left out.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.translation.languages import LANGUAGES, Language

_TABLE = Path(__file__).with_name("glossary.tsv")
_TRADITIONAL = Path(__file__).with_name("traditional.txt")
# English that prompts are full of and the glossary has no rows for: articles, synonyms.
_MORE_ENGLISH = (
    "a an the this is are no not to into onto over up as its best better very more less high ultra"
    " blurry blur ugly bad worst poor deformed distorted cropped grainy oversaturated watermarked"
    " photograph picture shot image render masterpiece resolution full hd 4k 8k highly focus focused"
    " backdrop coast seashore open timber pasture woods woodland range peaks urban downtown cloth"
    " plinth display stand tabletop rippling defocused out dawn midday daylight twilight hour"
    " nighttime scarlet tangerine emerald cobalt violet rose blush grey jet chestnut apricot gold"
    " azure pale midnight mountain indoor outdoor sunlit moody airy ambient glow glowing glossy polished"
)
_CACHED_STEMS = 8192  # a stem takes about 20 us


class Kind(StrEnum):
    """What a word does in a phrase."""

    ADJECTIVE = "adjective"
    NOUN = "noun"
    MODIFIER = "modifier"  # a noun that describes one before it: meja kayu, wooden table
    HEADING = "heading"  # a noun that any noun may describe: background, texture
    PHRASE = "phrase"  # complete in itself
    LINK = "link"  # on, behind; comes after its noun in languages with postpositions
    CONJUNCTION = "conjunction"  # and, or
    OF = "of"  # a noun behind it describes the one before it
    MATERIAL = "material"  # the same where that is a modifier, else a link: en bois, en Provence
    SKIP = "skip"  # articles, particles: left out
    UNKNOWN = "unknown"  # not in the glossary: kept as it stands


NOUNS = frozenset({Kind.NOUN, Kind.MODIFIER, Kind.HEADING})
FUNCTION_WORDS = frozenset({Kind.LINK, Kind.CONJUNCTION, Kind.OF, Kind.MATERIAL, Kind.SKIP})


@dataclass(frozen=True, slots=True)
class Entry:
    """One meaning: the English for it, "" for none, and its kind."""

    english: str
    kind: Kind


class Glossary:
    """The words of one language.

    Attributes:
        language: whose words.
        max_length: of its longest key, in words, or in characters where spaces part no words.
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        self._stemmer = _stemmer(language.stemmer) if language.stemmer else None
        self._exact: dict[tuple[str, ...] | str, Entry] = {}
        self._ending = re.compile(f"(?<=..)(?:{language.endings})$") if language.endings else None
        # Ways to spell a key less exactly, the most exact first, and the entries by it.
        self._loose: list[tuple[Callable[[str], str], dict[tuple[str, ...], Entry]]] = []
        if language.folds_accents:
            self._loose.append((_without_accents, {}))
        if self._ending is not None:
            self._loose.append((self._without_endings, {}))
        if self._stemmer is not None:
            self._loose.append((lru_cache(_CACHED_STEMS)(self._stem), {}))
        for entry, form in _forms(language.code):
            self._add(entry, form)
        self.max_length = max(map(len, self._exact))

    def of_text(self, text: str) -> Entry | None:
        """The entry of a normalized stretch of a text without spaces between its words."""
        return self._exact.get(text)

    def of_words(self, words: Sequence[str]) -> Entry | None:
        """The entry of normalized words in a row, whatever their endings."""
        key = tuple(words)
        found = self._exact.get(key)
        for spelled, entries in self._loose:
            if found is not None:
                break
            found = entries.get(tuple(map(spelled, key)))
        return found

    def _add(self, entry: Entry, form: str) -> None:
        normal = normalized(form, self.language)
        if not self.language.has_spaces:
            self._exact.setdefault(normal.replace(" ", ""), entry)
            return
        key = tuple(words_of(normal))
        self._exact.setdefault(key, entry)
        if entry.kind in FUNCTION_WORDS or entry.kind is Kind.PHRASE:
            return
        for spelled, entries in self._loose:
            entries.setdefault(tuple(map(spelled, key)), entry)

    def _without_endings(self, word: str) -> str:
        assert self._ending is not None
        return self._ending.sub("", word)

    def _stem(self, word: str) -> str:
        assert self._stemmer is not None
        return str(self._stemmer.stemWord(word))


def _stemmer(name: str) -> Any:
    import snowballstemmer  # 80 ms, which English prompts need not wait for

    return snowballstemmer.stemmer(name)


@lru_cache(maxsize=len(LANGUAGES))
def glossary_of(code: str) -> Glossary:
    """The glossary of a language, read once."""
    return Glossary(LANGUAGES[code])


@lru_cache(maxsize=1)
def english_words() -> frozenset[str]:
    """Every word of the English side, lower case, and the articles it has no rows for."""
    words = {word for row in _rows() for word in words_of(row["english"].lower())}
    return frozenset(words | set(words_of(_MORE_ENGLISH)))


def normalized(text: str, language: Language) -> str:
    """Lower case and one spelling of what is spelled in several ways; as long as `text`.

    Traditional Chinese characters become simplified ones, Russian ё becomes е.
    """
    if language.code == "zh":
        return text.translate(_simplified())
    lower = "".join(_lower(char, language.code) for char in text)
    return lower.replace("ё", "е").replace("’", "'")


def words_of(text: str) -> list[str]:
    """Words of a normalized text; an apostrophe ends one: l'herbe is l' and herbe."""
    return [text[start:end] for start, end in word_spans(text)]


def word_spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each word of a text."""
    start = None
    for index, char in enumerate(text):
        inner = char == "-" and start is not None and text[index + 1 : index + 2].isalpha()
        if char.isalpha() or unicodedata.combining(char) or inner:
            start = index if start is None else start
        elif start is not None:
            end = index + 1 if char in "'’" else index
            yield start, end
            start = None
    if start is not None:
        yield start, len(text)


def _lower(char: str, code: str) -> str:
    if code == "tr" and char in "Iİ":
        return "ı" if char == "I" else "i"
    lower = char.lower()
    return lower if len(lower) == 1 else char


@lru_cache(8192)
def _without_accents(word: str) -> str:
    decomposed = unicodedata.normalize("NFD", word.replace("ı", "i").replace("ß", "ss"))
    return "".join(char for char in decomposed if not unicodedata.combining(char))


@lru_cache(maxsize=1)
def _simplified() -> Mapping[int, str]:
    traditional, simplified = _TRADITIONAL.read_text(encoding="utf-8").split()
    return str.maketrans(dict(zip(traditional, simplified, strict=True)))


@lru_cache(maxsize=1)
def _rows() -> tuple[Mapping[str, str], ...]:
    with _TABLE.open(encoding="utf-8", newline="") as table:
        return tuple(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))


def _forms(code: str) -> Iterator[tuple[Entry, str]]:
    for row in _rows():
        entry = Entry(row["english"], Kind(row["kind"]))
        for form in row[code].split("/"):
            if form:
                yield entry, form
