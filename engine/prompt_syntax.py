r"""A prompt's text -> weighted pieces, with the syntax of the usual web UIs.

`(word)` weighs 1.1, `(word:1.3)` weighs 1.3, `[word]` weighs 1/1.1; brackets nest and their factors
multiply. A backslash before a bracket or a backslash takes its meaning away. `BREAK` ends a chunk.
docs/prompts.md shows examples. Imports no torch: the API reads every prompt before it accepts it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import BadPrompt, ParameterOutOfRange

EMPHASIS = 1.1
MAX_WEIGHT = 10.0

# Possessive quantifiers: a long run of digits or spaces is read once, whatever follows it.
_MARK = re.compile(
    r"""
      \\(?P<escaped>[\\()\[\]])
    | (?P<opening>[(\[])
    | (?P<closing>[)\]])
    | :\s*+(?P<factor>[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++))\s*+\)
    | (?P<chunk_end>\bBREAK\b)
    """,
    re.VERBOSE,
)
_NETWORK_TAG = re.compile(
    r"<\s*+(?:lora|locon|lyco|lycoris|hypernet|hypernetwork)\s*+:[^<>]*+>", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class WeightedText:
    """A stretch of a prompt with one weight.

    Attributes:
        text: as written, without the brackets; never blank.
        weight: 0..10.
    """

    text: str
    weight: float


Section = tuple[WeightedText, ...]


def parse_prompt(prompt: str, *, field: str = "prompt") -> tuple[Section, ...]:
    """Reads emphasis, escapes and BREAK.

    A bracket that nothing closes reaches to the end; one that closes nothing is text.

    Args:
        prompt: any text.
        field: name of the job's field, for errors.

    Returns:
        The sections between BREAKs, in order; blank ones are left out, so an empty prompt has none.

    Raises:
        BadPrompt: the prompt holds a LoRA or hypernetwork tag.
        ParameterOutOfRange: a weight lies outside 0..10.
    """
    if tag := _NETWORK_TAG.search(prompt):
        raise BadPrompt(
            f"{tag[0][:60]!r} has no place in a prompt: name the sub-model and its weight in"
            " SubModelList (`adapters` in Python)",
            field=field,
        )
    marks = list(_MARK.finditer(prompt))
    factors, closing = _match_brackets(marks)
    weights = [1.0]
    words: list[str] = []
    sections = [[(words, 1.0)]]
    position = 0
    for index, mark in enumerate(marks):
        words.append(prompt[position : mark.start()])
        position = mark.end()
        if index in factors:
            weights.append(weights[-1] * factors[index])
        elif index in closing:
            weights.pop()
        elif mark["chunk_end"]:
            sections.append([])
        else:
            words.append(mark["escaped"] or mark[0])
            continue
        words = []
        sections[-1].append((words, weights[-1]))
    words.append(prompt[position:])
    parsed = [_weighted_texts(section, field) for section in sections]
    return tuple(section for section in parsed if section)


def trigger_pattern(words: Sequence[str]) -> re.Pattern[str]:
    """Finds whole trigger words in any case; group n is the n-th word, an earlier one preferred.

    A hyphen belongs to the word: `bad-hands` is not used by `bad-hands-5`.
    """
    if not words:
        return re.compile("(?!)")  # matches nothing
    groups = "|".join(f"({re.escape(word)})" for word in words)
    return re.compile(rf"(?<![\w-])(?:{groups})(?![\w-])", re.IGNORECASE)


def _match_brackets(marks: Sequence[re.Match[str]]) -> tuple[dict[int, float], set[int]]:
    """The factor of every opening mark, and which marks close one, by index."""
    factors: dict[int, float] = {}
    closing: set[int] = set()
    unclosed: list[int] = []
    for index, mark in enumerate(marks):
        if bracket := mark["opening"]:
            factors[index] = EMPHASIS if bracket == "(" else 1 / EMPHASIS
            unclosed.append(index)
        elif mark["closing"] or mark["factor"]:
            opening = "[" if mark["closing"] == "]" else "("
            if unclosed and marks[unclosed[-1]]["opening"] == opening:
                closing.add(index)
                opened = unclosed.pop()
                if mark["factor"]:
                    factors[opened] = float(mark["factor"])
    return factors, closing


def _weighted_texts(pieces: Sequence[tuple[Sequence[str], float]], field: str) -> Section:
    """The pieces that hold any text, their weights checked."""
    section = []
    for words, weight in pieces:
        text = "".join(words)
        if not text.strip():
            continue
        if not 0.0 <= weight <= MAX_WEIGHT:  # refuses NaN too
            raise ParameterOutOfRange(
                f"the weight of {text.strip()[:40]!r} is {weight:.6g}, not 0..{MAX_WEIGHT:g};"
                r" write \( and \) for brackets that are text",
                field=field,
            )
        section.append(WeightedText(text, weight))
    return tuple(section)
