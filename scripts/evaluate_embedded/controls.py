"""Whether the controls act as they should: reference strength, sub-models, negative prompts."""

from __future__ import annotations

import numpy as np
from PIL import Image

from engine.job import AdapterWeight
from scripts.evaluate_embedded.cases import Case
from scripts.evaluate_embedded.evaluation import Evaluation, Result, layout
from scripts.evaluate_embedded.pictures import Pixels, Wanted
from scripts.evaluate_embedded.statistics import share, steps_in_order
from scripts.train_embedded.judge_labels import HEADS
from scripts.train_embedded.scenes import KINDS

REFERENCE_STRENGTHS = (0.1, 0.3, 0.5, 0.7, 0.9)  # as the wire counts: 1 keeps the reference
ADAPTER_WEIGHTS = (-1.0, 0.0, 0.5, 1.0, 2.0)

# A prompt that leaves the named thing open, and the head that tells what it became.
_OPEN_PROMPTS = (
    ("photo studio", "studio", "wall"),
    ("plaster wall", "plaster wall", "wall"),
    ("silk fabric", "silk", "wall"),
    ("linen texture", "linen", "wall"),
    ("sea", "sea", "time"),
    ("mountains", "mountains", "time"),
    ("desert", "desert", "time"),
)


def reference(evaluation: Evaluation) -> Result:
    """Distance of the background from the reference over its strength: it should only fall."""
    cases = evaluation.cases[:: max(1, len(evaluation.cases) // evaluation.sizes.reference)]
    cases = cases[: evaluation.sizes.reference]
    # Half of the kinds away, so that no prompt names what its reference shows.
    others = [
        evaluation.compared[(index + len(KINDS) // 2) % len(evaluation.compared)]
        for index in range(len(cases))
    ]
    wanted = [
        case.wanted(reference=Image.fromarray(other.background), strength=1 - strength)
        for case, other in zip(cases, others, strict=True)
        for strength in REFERENCE_STRENGTHS
    ]
    pictures = iter(evaluation.maker.make(wanted))
    curves = [
        [_apart(next(pictures), other.background, case) for _ in REFERENCE_STRENGTHS]
        for case, other in zip(cases, others, strict=True)
    ]
    mean = np.mean(curves, axis=0)
    return {
        "distance": {
            str(strength): round(float(value), 4)
            for strength, value in zip(REFERENCE_STRENGTHS, mean, strict=True)
        },
        "falls_on_average": steps_in_order(list(mean), rising=False) == 1,
        "falls_everywhere": share([steps_in_order(c, rising=False) == 1 for c in curves]),
        "references": len(curves),
    }


def adapters(evaluation: Evaluation) -> Result:
    """How far each sub-model moves the pictures along its own direction, over its weight."""
    if not evaluation.adapter_names:
        return {"skipped": "no sub-models were named (--adapters)"}
    found: Result = {}
    cases = evaluation.cases[: evaluation.sizes.reference]
    for name in evaluation.adapter_names:
        layouts = {
            weight: _layouts(evaluation, cases, (AdapterWeight(name, weight),))
            for weight in ADAPTER_WEIGHTS
        }
        direction = layouts[1.0] - layouts[0.0]
        length = np.maximum(np.linalg.norm(direction, axis=1), 1e-6)
        along = {
            weight: ((each - layouts[0.0]) * direction).sum(1) / length
            for weight, each in layouts.items()
        }
        curves = np.stack([along[weight] for weight in ADAPTER_WEIGHTS], axis=1)
        found[name] = {
            "moved": {str(w): round(float(along[w].mean()), 4) for w in ADAPTER_WEIGHTS},
            "rises_on_average": steps_in_order(list(curves.mean(0))) == 1,
            "rises_everywhere": share([steps_in_order(list(c)) == 1 for c in curves]),
        }
    return found


def negative(evaluation: Evaluation) -> Result:
    """What a picture became on its own is named in the negative prompt: it should go away."""
    found: Result = {}
    before_all, after_all, changed_all = [], [], []
    for prompt, kind, head in _OPEN_PROMPTS:
        case = next(each for each in evaluation.cases if each.render.record.kind == kind)
        plain = [
            Wanted(case.foreground, prompt, seed=case.seed + index)
            for index in range(evaluation.sizes.seeds)
        ]
        before = evaluation.read(evaluation.maker.make(plain))
        said = [before.answer(index, head)[0] for index in range(len(plain))]
        pushed = [
            case.wanted(prompt=prompt, seed=each.seed, negative_prompt=word)
            for each, word in zip(plain, said, strict=True)
        ]
        after = evaluation.read(evaluation.maker.make(pushed))
        places = [HEADS[head].index(word) for word in said]
        rows = range(len(said))
        before_share = before.probabilities[head][rows, places]
        after_share = after.probabilities[head][rows, places]
        changed = [after.answer(i, head)[0] != word for i, word in enumerate(said)]
        found[prompt] = {
            "before": round(float(before_share.mean()), 3),
            "after": round(float(after_share.mean()), 3),
            "changed": share(changed),
        }
        before_all += list(before_share)
        after_all += list(after_share)
        changed_all += changed
    return {
        "before": round(float(np.mean(before_all)), 3),
        "after": round(float(np.mean(after_all)), 3),
        "changed": share(changed_all),
        "prompts": found,
    }


def _layouts(
    evaluation: Evaluation, cases: list[Case], adapters_: tuple[AdapterWeight, ...]
) -> np.ndarray:
    pictures = evaluation.maker.make([case.wanted(adapters=adapters_) for case in cases])
    return np.stack([layout(picture) for picture in pictures])


def _apart(picture: Pixels, reference_: Pixels, case: Case) -> float:
    """Mean difference where no product is, as a share of full scale."""
    clear = case.render.alpha == 0
    difference = np.abs(picture.astype(np.float32) - reference_)[clear]
    return float(difference.mean()) / 255
