"""The languages that are translated, and what sets their grammar apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

ENGLISH = "en"


class WordOrder(Enum):
    """Where a language puts what describes a noun, and how it says "on" and "behind"."""

    ADJECTIVE_FIRST = auto()  # as English does
    NOUN_FIRST = auto()  # ciel bleu
    POSTPOSITIONS = auto()  # テーブルの上: adjectives first, but "table on"


@dataclass(frozen=True, slots=True)
class Language:
    """One language.

    Attributes:
        code: ISO 639-1, and the column of the glossary.
        order: of its words.
        endings: pattern of the endings that a noun or adjective takes, for short words, on which
            the stemmer does nothing.
        stemmer: name of the Snowball stemmer that takes all endings off; None for none.
        has_spaces: whether spaces part its words reliably.
        compounds: whether nouns are written together: Holztisch.
        folds_accents: whether a word is likely the same one when typed without its accents.
    """

    code: str
    order: WordOrder
    endings: str | None = None
    stemmer: str | None = None
    has_spaces: bool = True
    compounds: bool = False
    folds_accents: bool = True


_TURKISH = "(?:l[ae]r|[ln]?[ıiuü]n|s?[ıiuü]|n?[dt][ae]n?|y?[ae]){1,3}"
_ALL = (
    Language("zh", WordOrder.POSTPOSITIONS, has_spaces=False, folds_accents=False),
    Language("ja", WordOrder.POSTPOSITIONS, has_spaces=False, folds_accents=False),
    Language("ko", WordOrder.POSTPOSITIONS, has_spaces=False, folds_accents=False),
    Language("fr", WordOrder.NOUN_FIRST, "e?s|e|x", "french"),
    Language("es", WordOrder.NOUN_FIRST, "[aeo]?s|[aeo]", "spanish"),
    Language("it", WordOrder.NOUN_FIRST, "[aeio]", "italian"),
    Language("pt", WordOrder.NOUN_FIRST, "[aeo]?s|[aeo]", "portuguese"),
    Language("de", WordOrder.ADJECTIVE_FIRST, "e[nrms]?|n|s", "german", compounds=True),
    Language("ru", WordOrder.ADJECTIVE_FIRST, stemmer="russian", folds_accents=False),
    Language("tr", WordOrder.POSTPOSITIONS, _TURKISH, "turkish"),
    # Without its accents a Vietnamese syllable may be any of several words.
    Language("vi", WordOrder.NOUN_FIRST, folds_accents=False),
    # Indonesian and Malay: one column holds the words of both.
    Language("id", WordOrder.NOUN_FIRST, stemmer="indonesian"),
    Language("th", WordOrder.NOUN_FIRST, has_spaces=False, folds_accents=False),
)
LANGUAGES: Mapping[str, Language] = {language.code: language for language in _ALL}
LATIN_CODES = ("fr", "es", "it", "pt", "de", "tr", "vi", "id")
