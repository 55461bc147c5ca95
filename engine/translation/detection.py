"""Which language a prompt is in."""

from __future__ import annotations

import gzip
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.translation.glossary import Kind, english_words, glossary_of, word_spans
from engine.translation.languages import ENGLISH, LATIN_CODES
from engine.translation.segment import segment

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_MERGES = Path(__file__).resolve().parent.parent / "configs" / "clip_merges.txt.gz"
_CANDIDATES = 3  # languages of the detector that the glossary is asked about
_SAMPLE_CHARS = 1000  # of a long prompt; the rest tells nothing new
_SCRIPTS: Mapping[str, re.Pattern[str]] = {
    "ja": re.compile("[\u3041-\u30fa\u30fc-\u30ff\uff66-\uff9d]"),  # kana; not the middle dot
    "ko": re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]"),
    "th": re.compile("[\u0e01-\u0e5b]"),
    "ru": re.compile("[\u0400-\u04ff]"),
    "zh": re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"),
}


def language_of_script(text: str) -> str | None:
    """The language that its characters tell: ja, ko, th, ru, zh, or None for the Latin ones.

    Chinese characters alone may be Japanese as well.
    """
    return next((code for code, script in _SCRIPTS.items() if script.search(text)), None)


def latin_language(phrases: Sequence[str]) -> str:
    """The language of phrases in Latin letters.

    A detector's probability and the share of the words that a language's glossary knows are added:
    the detector alone errs on phrases of one or two words, and the glossary on words that several
    languages share. English wins a draw.

    Phrases of English words alone tell nothing of the others; where they are half or more, the
    others must be known to the glossary word for word.

    Args:
        phrases: of one or more prompts of one author.

    Returns:
        A code of `LATIN_CODES`, or "en": where it is likely, where all words are English, and
        where there are no words.
    """
    doubtful = [phrase for phrase in phrases if not all(map(_is_english_word, _words(phrase)))]
    if not doubtful:
        return ENGLISH
    text = unicodedata.normalize("NFC", ", ".join(doubtful)[:_SAMPLE_CHARS])
    words = _words(text)
    chances = _chances(text)
    likely = sorted(LATIN_CODES, key=lambda code: -chances[code])[:_CANDIDATES]
    coverages = {code: _coverage(text, code) for code in likely}
    best = max(likely, key=lambda code: chances[code] + coverages[code])
    if 2 * len(doubtful) <= len(phrases) and coverages[best] < 1:
        return ENGLISH  # Villa Rosa in an English prompt is a name
    english = chances[ENGLISH] + _english_coverage(words, best)
    return ENGLISH if english >= chances[best] + coverages[best] else best


def is_english(phrase: str, other: str) -> bool:
    """Whether all words of a phrase are English ones, in a prompt of the language `other`."""
    return _english_coverage(_words(phrase), other) == 1.0


def _words(text: str) -> list[str]:
    return [text[start:end].lower() for start, end in word_spans(text)]


def _english_coverage(words: Sequence[str], other: str) -> float:
    """Share of words that are English; a common one is not where `other` has it in its glossary."""
    glossary = glossary_of(other)
    known = [
        _is_english_word(word) or (word in _common_words() and glossary.of_words([word]) is None)
        for word in words
    ]
    return sum(known) / max(1, len(known))


def _is_english_word(word: str) -> bool:
    """Whether the English side of the glossary has it, in either number."""
    return not english_words().isdisjoint((word, f"{word}s", word.removesuffix("s")))


def _coverage(text: str, code: str) -> float:
    """Share of the words that the glossary of `code` has."""
    tokens = segment(text, glossary_of(code))
    unknown = sum(len(_words(token.source)) for token in tokens if token.kind is Kind.UNKNOWN)
    return 1 - unknown / max(1, len(_words(text)))


def _chances(text: str) -> dict[str, float]:
    """0..1 for English and each of `LATIN_CODES`."""
    chances = dict.fromkeys((ENGLISH, *LATIN_CODES), 0.0)
    for code, chance in _identifier().rank(text):
        chances["id" if code == "ms" else code] += float(chance)
    return chances


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # 0.5 s, 100 MB: only when needed

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([ENGLISH, *LATIN_CODES, "ms"])
    return identifier


@lru_cache(maxsize=1)
def _common_words() -> frozenset[str]:
    """Words that CLIP has a token for: mostly English, and what an image model understands."""
    lines = gzip.decompress(_MERGES.read_bytes()).decode("utf-8").splitlines()
    tokens = (line.replace(" ", "") for line in lines if line.endswith("</w>"))
    words = (token.removesuffix("</w>") for token in tokens)
    return frozenset(word for word in words if word.isascii() and word.isalpha())
