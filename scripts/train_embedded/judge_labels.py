"""What the judge says about a picture: its heads, and the true answers of a rendered one.

Every head answers with a set of names. Most sets have one member; two neon tubes or the two colours
of an abstract picture have no order to tell them by, so theirs have two. A head's target is spread
evenly over the set, and an answer is right when its most probable names are the set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scripts.train_embedded.dataset import SceneRecord
from scripts.train_embedded.light import TIMES_OF_DAY
from scripts.train_embedded.palette import NAMES
from scripts.train_embedded.scenes import KINDS

COLOR_HEADS = ("sky", "wall", "podium", "floor", "slab", "lights", "neon", "abstract", "sand")
HEADS: dict[str, tuple[str, ...]] = {
    "kind": tuple(KINDS),
    "time": TIMES_OF_DAY,
    **dict.fromkeys(COLOR_HEADS, NAMES),
    "shadow": ("without", "with"),
}

# part of a scene's colours -> head. Flowers are a few pixels each and planks know one colour only.
_HEAD_OF_PART = {
    "sky": "sky",
    "wall": "wall",
    "background": "wall",
    "podium": "podium",
    "floor": "floor",
    "table": "slab",
    "marble": "slab",
    "terrazzo": "slab",
    "lights": "lights",
    "neon": "neon",
    "first": "abstract",
    "second": "abstract",
    "sand": "sand",
}
# Always day and always night: nothing in the picture tells it.
_TIMELESS_KINDS = ("water", "neon")
_CLOSED_SKIES = ("overcast", "gray sky", "stormy", "dramatic sky")

Answer = tuple[str, ...]


def spans() -> dict[str, slice]:
    """Where each head's classes are in a concatenated vector."""
    found, start = {}, 0
    for head, names in HEADS.items():
        found[head] = slice(start, start + len(names))
        start += len(names)
    return found


SPANS = spans()
NUM_CLASSES = sum(len(names) for names in HEADS.values())


def true_answers(record: SceneRecord, *, shadow: bool | None = None) -> dict[str, Answer]:
    """The answers of a rendered picture; heads it has no clear answer to are left out.

    Args:
        record: of the picture.
        shadow: whether its product throws one; None if unknown.
    """
    answers: dict[str, Answer] = {"kind": (record.kind,)}
    if record.time_of_day is not None and tells_time(record):
        answers["time"] = (record.time_of_day,)
    for part, color in record.colors:
        head = _HEAD_OF_PART.get(part)
        # Between clouds a sky has as many colours as they have.
        if head is None or (head == "sky" and _has_clouds(record)):
            continue
        answers[head] = (*answers.get(head, ()), color)
    if shadow is not None:
        answers["shadow"] = ("with",) if shadow else ("without",)
    return answers


def tells_time(record: SceneRecord) -> bool:
    """Whether the time of day can be seen: not where clouds hide the sky's colour."""
    closed = any(words in phrase for phrase in record.phrases for words in _CLOSED_SKIES)
    return record.kind not in _TIMELESS_KINDS and not closed


def encode(answers: dict[str, Answer]) -> NDArray[np.uint8]:
    """(NUM_CLASSES,) uint8, 1 at every true name; a head without an answer is all 0."""
    target = np.zeros(NUM_CLASSES, np.uint8)
    for head, names in answers.items():
        for name in names:
            target[SPANS[head].start + HEADS[head].index(name)] = 1
    return target


def most_probable(head: str, scores: NDArray[np.float32], count: int) -> Answer:
    """The `count` names of a head with the highest scores, (len(HEADS[head]),), best first."""
    order = np.argsort(-scores, kind="stable")[:count]
    return tuple(HEADS[head][index] for index in order)


def _has_clouds(record: SceneRecord) -> bool:
    return any("cloud" in phrase and phrase != "cloudless" for phrase in record.phrases)
