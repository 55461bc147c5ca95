"""Prompts -> English prompts; what is English, and what is syntax, stays byte for byte."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.translation.detection import is_english, language_of_script, latin_language
from engine.translation.glossary_translator import GlossaryTranslator
from engine.translation.languages import ENGLISH
from engine.translation.model_translator import ModelTranslator
from engine.translation.pieces import Piece, pieces_of
from engine.translation_model import TranslationModel

_WIDE_SEPARATORS = re.compile("[，、；。]\\s*")


class Translator(Protocol):
    """What turns phrases into English."""

    def translate(self, phrases: list[str], code: str) -> list[str]:
        """The phrases, all of the language `code` (`LANGUAGES`), in English and in order."""
        ...


@dataclass(frozen=True, slots=True)
class Translation:
    """English prompts.

    Attributes:
        prompts: one for each prompt given, in order.
        languages: codes of the languages they were in, English left out.
    """

    prompts: tuple[str, ...]
    languages: frozenset[str]


def translator_for(model: TranslationModel | None) -> Translator:
    """The model of models.yaml, or without one the glossary. Nothing is loaded before its use."""
    return GlossaryTranslator() if model is None else ModelTranslator(model)


def translate_prompts(
    prompts: Sequence[str], translator: Translator, *, keep: Sequence[str] = ()
) -> Translation:
    """Translates what is not English of the prompts of one job.

    Brackets, weights, tags, escapes, BREAK and numbers stay where they are. Phrases between commas
    are translated by themselves, so a prompt may mix English with another language.

    Args:
        prompts: positive and negative ones; they tell the language together.
        translator: for phrases.
        keep: words that stay as they are: triggers of LoRAs and embeddings.

    Raises:
        Exception: whatever `translator` raises.
    """
    cut = [pieces_of(prompt, keep) for prompt in prompts]
    languages = _languages([piece.text for pieces in cut for piece in pieces if piece.is_phrase])
    foreign: defaultdict[str, list[str]] = defaultdict(list)
    for phrase, code in languages.items():
        foreign[code].append(phrase)
    english = {
        phrase: translated
        for code, phrases in foreign.items()
        for phrase, translated in zip(phrases, translator.translate(phrases, code), strict=True)
    }
    return Translation(tuple(_joined(pieces, english) for pieces in cut), frozenset(foreign))


def _languages(phrases: Sequence[str]) -> dict[str, str]:
    """The language of each distinct phrase that is not English."""
    by_script = {phrase: language_of_script(phrase) for phrase in phrases}
    latin = [phrase for phrase, code in by_script.items() if code is None]
    latin_code = latin_language(latin)
    languages: dict[str, str] = {}
    for phrase, code in by_script.items():
        if code == "zh" and "ja" in by_script.values():
            languages[phrase] = "ja"
        elif code is not None:
            languages[phrase] = code
        elif latin_code != ENGLISH and not is_english(phrase, latin_code):
            languages[phrase] = latin_code
    return languages


def _joined(pieces: Sequence[Piece], english: dict[str, str]) -> str:
    """The prompt again; separators of other scripts become commas where anything is translated."""
    if not any(piece.text in english for piece in pieces if piece.is_phrase):
        return "".join(piece.text for piece in pieces)
    texts = [
        english.get(piece.text, piece.text)
        if piece.is_phrase
        else _WIDE_SEPARATORS.sub(", ", piece.text)
        for piece in pieces
    ]
    return "".join(texts).rstrip(", ") if pieces[-1].text in "，、；。" else "".join(texts)
