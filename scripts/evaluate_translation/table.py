"""Prompts in the documented languages, their English, and which of the words meant are in it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.translate import translate_prompts, translator_for

_PROMPTS = Path(__file__).with_name("prompts.tsv")
NAMES = {
    "zh": "Chinese",
    "ja": "Japanese",
    "ko": "Korean",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "de": "German",
    "tr": "Turkish",
    "ru": "Russian",
    "pt": "Portuguese",
    "vi": "Vietnamese",
    "id": "Indonesian",
    "th": "Thai",
    "ms": "Malay",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt and what it means.

    Attributes:
        is_held_out: written after the glossary, which was not extended with it in view.
        code: of its language.
        prompt: as a customer writes it.
        meaning: English words that must be in the translation; of each, one of several spellings.
    """

    is_held_out: bool
    code: str
    prompt: str
    meaning: tuple[tuple[str, ...], ...]

    def missing(self, english: str) -> list[str]:
        """The words meant that a translation lacks."""
        text = english.lower()
        return ["/".join(words) for words in self.meaning if not any(w in text for w in words)]


@dataclass(frozen=True, slots=True)
class Row:
    """A case and its translation by the glossary."""

    case: Case
    english: str

    @property
    def missing(self) -> list[str]:
        """The words meant that are not in it."""
        return self.case.missing(self.english)


def read_cases() -> list[Case]:
    """All cases, language by language."""
    with _PROMPTS.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [
            Case(
                row["set"] == "held out",
                row["language"],
                row["prompt"],
                tuple(tuple(words.split("/")) for words in row["meaning"].split(", ")),
            )
            for row in rows
        ]


def translated(cases: Sequence[Case]) -> list[Row]:
    """Each case by itself, as a request of one prompt."""
    translator = translator_for(None)
    return [Row(case, translate_prompts([case.prompt], translator).prompts[0]) for case in cases]


def markdown(rows: Sequence[Row]) -> str:
    """The summary and a table for each language."""
    return "\n".join(
        [*_summary(rows), "", *(line for code in NAMES for line in _table(rows, code))]
    )


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    yield "| Language | Prompts | Whole | Words | Held out | Whole | Words |"
    yield "|---|---|---|---|---|---|---|"
    for code, name in [*NAMES.items(), ("", "All")]:
        own = [row for row in rows if code in ("", row.case.code)]
        revised = _counts([row for row in own if not row.case.is_held_out])
        held_out = _counts([row for row in own if row.case.is_held_out])
        yield f"| {name} | {revised} | {held_out} |"


def _counts(rows: Sequence[Row]) -> str:
    words = sum(len(row.case.meaning) for row in rows)
    found = words - sum(len(row.missing) for row in rows)
    whole = sum(not row.missing for row in rows)
    return f"{len(rows)} | {whole} | {found} of {words}"


def _table(rows: Sequence[Row], code: str) -> Iterator[str]:
    yield f"### {NAMES[code]}"
    yield ""
    yield "| Prompt | Used |"
    yield "|---|---|"
    for row in rows:
        if row.case.code == code:
            lacking = f" (lacks {', '.join(row.missing)})" if row.missing else ""
            held_out = "*" if row.case.is_held_out else ""
            yield f"| {row.case.prompt}{held_out} | {row.english}{lacking} |"
    yield ""
