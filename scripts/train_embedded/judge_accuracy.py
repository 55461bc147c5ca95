"""How often the judge is right, on renders of seeds it has never seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.vae import LatentCodec
from scripts.train_embedded.held_out import HeldOut
from scripts.train_embedded.judge_data import round_trip, throws_shadow
from scripts.train_embedded.judge_labels import HEADS, Answer, true_answers
from scripts.train_embedded.judge_model import Judge, read

ROUND_TRIP_NOISE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A picture (H, W, 3) uint8 and the true answers.

    Attributes:
        image: to judge.
        truth: head -> names.
        decoded: whether it went through the autoencoder.
    """

    image: NDArray[np.uint8]
    truth: dict[str, Answer]
    decoded: bool = False


def questions(renders: Iterable[HeldOut], codec: LatentCodec | None) -> list[Question]:
    """Each render as it is and, given an autoencoder, after it; with a shadow, also without."""
    asked = []
    rng = np.random.default_rng(17)
    for render in renders:
        shaded = throws_shadow(render.image, render.alpha, render.background)
        truth = true_answers(render.record, shadow=shaded)
        if not render.grounded:
            truth.pop("shadow")  # nothing floating throws one: that would be too easy a question
        asked.append(Question(render.image, truth))
        if shaded:
            asked.append(Question(render.without_shadow, {"shadow": ("without",)}))
        if codec is not None:
            decoded = round_trip(render.image, codec, rng, ROUND_TRIP_NOISE)
            asked.append(Question(decoded, truth, decoded=True))
    return asked


def accuracy(judge: Judge, asked: list[Question]) -> dict[str, Any]:
    """Share of right answers: for each head, for each name, and the commonest mistakes.

    Returns:
        head -> right, asked, right_decoded, names {name: right}, mistakes {"true -> said": count}.
    """
    readings = read(judge, [question.image for question in asked])
    found: dict[str, Any] = {}
    for head in HEADS:
        right: dict[bool, list[bool]] = {False: [], True: []}
        names: dict[str, list[bool]] = {}
        mistakes: Counter[str] = Counter()
        for index, question in enumerate(asked):
            truth = question.truth.get(head)
            if truth is None:
                continue
            is_right = readings.is_right(index, head, truth)
            right[question.decoded].append(is_right)
            for name in truth:
                names.setdefault(name, []).append(is_right)
            if not is_right:
                said = readings.answer(index, head, len(truth))
                mistakes[f"{'+'.join(truth)} -> {'+'.join(said)}"] += 1
        found[head] = {
            "right": _share(right[False]),
            "asked": len(right[False]),
            "right_decoded": _share(right[True]),
            "names": {name: _share(each) for name, each in sorted(names.items())},
            "mistakes": dict(mistakes.most_common(12)),
        }
    return found


def as_table(found: dict[str, Any]) -> str:
    """The accuracies in Markdown."""
    lines = ["| head | right | after the autoencoder | asked | worst |", "|---|---|---|---|---|"]
    for head, each in found.items():
        worst = sorted(each["names"].items(), key=lambda item: item[1])[:3]
        told = ", ".join(f"{name} {percent(share)}" for name, share in worst)
        lines.append(
            f"| {head} | {percent(each['right'])} | {percent(each['right_decoded'])} "
            f"| {each['asked']} | {told} |"
        )
    return "\n".join(lines)


def percent(share: float | None) -> str:
    """0.973 -> "97.3 %"; None -> a dash."""
    return "-" if share is None else f"{100 * share:.1f} %"


def _share(right: list[bool]) -> float | None:
    return round(float(np.mean(right)), 4) if right else None
