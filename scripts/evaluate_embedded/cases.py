"""Prompts with a product in front and the answers a judge should give: from held-out renders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scripts.evaluate_embedded.pictures import Wanted
from scripts.train_embedded.dataset import SceneRecord
from scripts.train_embedded.held_out import HeldOut, every_kind, held_out
from scripts.train_embedded.judge_labels import COLOR_HEADS, Answer, true_answers
from scripts.train_embedded.words import SYNONYMS, caption, say

# Which renders serve what: no picture is compared with the one its own prompt is from.
PROMPTS_FROM, COMPARED_FROM, BINDING_FROM = 0, 1_000, 2_000

# What the renderer calls a time of day besides its synonyms.
_TIME_WORDS = {"sunset": ("evening",), "night": ("night", "starry")}
# Here the colour's word must stand before the part's: "blue" alone may be said of anything.
_NAMED_WITH = {"sky": "sky", "sand": "sand"}


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A prompt and what a picture of it should show.

    Attributes:
        prompt: as a user would write it.
        truth: head -> names, only what the prompt says.
        render: where prompt and product are from.
        foreground: its product, RGBA.
        seed: of the picture.
    """

    prompt: str
    truth: dict[str, Answer]
    render: HeldOut
    foreground: Image.Image
    seed: int

    def wanted(self, **changes: Any) -> Wanted:
        """The picture to make of it; `changes` are fields of `Wanted`."""
        fields = {"foreground": self.foreground, "prompt": self.prompt, "seed": self.seed}
        return Wanted(**(fields | changes))


def main_cases(folder: Path, per_kind: int) -> list[Case]:
    """Natural captions of every kind, the kinds taking turns."""
    renders = every_kind(folder, range(PROMPTS_FROM, PROMPTS_FROM + per_kind))
    return [_case(render, _caption(render.record)) for render in renders]


def time_cases(main: Iterable[Case]) -> list[Case]:
    """The landscapes among the main cases, with their time of day always said."""
    cases = []
    for case in main:
        record = case.render.record
        answer = true_answers(record).get("time")
        if answer is not None and record.kind != "starry night":
            cases.append(_case(case.render, _timed(record, answer[0])))
    return cases


def binding_cases(folder: Path, kind: str, count: int) -> list[Case]:
    """Prompts that give two parts a colour each: podiums, two-coloured studios, abstract pairs."""
    cases: list[Case] = []
    index = BINDING_FROM
    while len(cases) < count:
        render = held_out(folder, kind, index)
        case = _case(render, render.record.phrases[0])
        if sum(len(names) for head, names in case.truth.items() if head in COLOR_HEADS) == 2:
            cases.append(case)
        index += 1
    return cases


def said_in(prompt: str, record: SceneRecord) -> dict[str, Answer]:
    """The true answers of a render that its prompt lets one know."""
    truth = true_answers(record)
    said = {"kind": truth["kind"]}
    for head, names in truth.items():
        if head in COLOR_HEADS and all(_is_named(prompt, head, name) for name in names):
            said[head] = names
    if "time" in truth and says_time(prompt, truth["time"][0]):
        said["time"] = truth["time"]
    return said


def says_time(prompt: str, time_of_day: str) -> bool:
    """Whether the prompt has a word for that time of day."""
    words = (*SYNONYMS[time_of_day], *_TIME_WORDS.get(time_of_day, ()))
    return any(_has_words(prompt, word) for word in words)


def _case(render: HeldOut, prompt: str) -> Case:
    record = render.record
    return Case(prompt, said_in(prompt, record), render, render.foreground, record.seed)


def _caption(record: SceneRecord) -> str:
    rng = np.random.default_rng((record.seed, 3))
    return caption(rng, record.phrases, record.time_of_day)


def _timed(record: SceneRecord, time_of_day: str) -> str:
    prompt = ", ".join(record.phrases)
    if says_time(prompt, time_of_day):
        return prompt
    return f"{prompt}, {say(np.random.default_rng((record.seed, 4)), time_of_day)}"


def _is_named(prompt: str, head: str, color: str) -> bool:
    part = _NAMED_WITH.get(head)
    words = SYNONYMS[color]
    if part is None:
        return any(_has_words(prompt, word) for word in words)
    return any(_has_words(prompt, f"{word} {part}") for word in words)


def _has_words(prompt: str, words: str) -> bool:
    return re.search(rf"\b{re.escape(words)}\b", prompt) is not None
