"""Phrases -> English by the glossary."""

from __future__ import annotations

from engine.translation.glossary import Kind, glossary_of
from engine.translation.languages import LANGUAGES
from engine.translation.segment import Token, segment
from engine.translation.word_order import in_english_order


class GlossaryTranslator:
    """Translates the words that the glossary has; the others stay as they are."""

    def translate(self, phrases: list[str], code: str) -> list[str]:
        """The phrases in English.

        Args:
            phrases: of one language, without syntax.
            code: of `LANGUAGES`.
        """
        return [_translated(phrase, code) for phrase in phrases]


def _translated(phrase: str, code: str) -> str:
    if code == "th":  # a space parts phrases, as a comma does elsewhere
        return ", ".join(_in_english(part, code) for part in phrase.split())
    return _in_english(phrase, code)


def _in_english(phrase: str, code: str) -> str:
    tokens = segment(phrase, glossary_of(code))
    if code == "zh":
        tokens = min(tokens, segment(phrase, glossary_of("ja")), key=_unknown_characters)
    return " ".join(in_english_order(tokens, LANGUAGES[code].order)) or phrase


def _unknown_characters(tokens: list[Token]) -> int:
    """Japanese written without kana looks Chinese: whichever glossary knows more of it is right."""
    return sum(len(token.source) for token in tokens if token.kind is Kind.UNKNOWN)
