"""Whether DeepFusion brings palette and texture of the background nearer to the reference's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image

from engine.job import ResizeMode
from engine.picture_measures import Mask, background_of, palette_distance
from engine.resize import resize_reference
from scripts.evaluate_embedded.cases import Case
from scripts.evaluate_embedded.evaluation import Evaluation, Result
from scripts.evaluate_embedded.fusion_sheet import write_fusion_sheet
from scripts.evaluate_embedded.pictures import Pixels
from scripts.evaluate_embedded.statistics import share
from scripts.evaluate_embedded.style import (
    detail_distance,
    grain_distance,
    texture_distance,
)
from scripts.train_embedded.scenes import KINDS

STRENGTHS = (0.1, 0.3, 0.6)  # as the wire counts: 1 keeps the reference
SHEET = "deep-fusion.jpg"
_PHOTOS = Path(__file__).resolve().parents[2] / "examples"
_PHOTO_NAMES = ("lake-pagoda.jpg", "rocket-dusk.jpg")
_PROMPTS_PER_PHOTO = 3

Measure = Callable[[Pixels, Mask, Pixels], float]
MEASURES: dict[str, Measure] = {
    "palette": palette_distance,
    "texture": texture_distance,
    "grain": grain_distance,
    "fine detail": detail_distance,
}


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """A prompt with its product and seed, and a reference of another scene."""

    case: Case
    reference: Pixels


def deep_fusion(evaluation: Evaluation) -> Result:
    """Distance of the background's palette and texture from the reference's, without and with it.

    The same prompt, product, seed and reference strength each time. References are renders of
    other kinds than the prompt's, and photographs, which the model has never seen the like of.
    Writes a contact sheet beside the pictures.
    """
    pairs = {"renders": _rendered(evaluation), "photos": _photographed(evaluation)}
    found: Result = {}
    sheet: list[tuple[Pixels, list[Pixels]]] = []
    for name, group in pairs.items():
        pictures = _pictures(evaluation, group)
        found[name] = {
            str(strength): _compared(group, pictures[strength]) for strength in STRENGTHS
        }
        shown = np.linspace(0, len(group) - 1, evaluation.sizes.sheet_rows).round().astype(int)
        for index in dict.fromkeys(shown.tolist()):
            columns = [side[index] for strength in STRENGTHS for side in pictures[strength]]
            sheet.append((group[index].reference, columns))
    write_fusion_sheet(evaluation.maker.folder.parent / SHEET, sheet, STRENGTHS)
    return found


def _rendered(evaluation: Evaluation) -> list[_Pair]:
    cases = evaluation.cases[:: max(1, len(evaluation.cases) // evaluation.sizes.fusion)]
    cases = cases[: evaluation.sizes.fusion]
    # Half of the kinds away, so that no prompt names what its reference shows.
    kinds = list(KINDS)
    places = [kinds.index(case.render.record.kind) + len(kinds) // 2 for case in cases]
    return [
        _Pair(case, evaluation.compared[place % len(evaluation.compared)].background)
        for case, place in zip(cases, places, strict=True)
    ]


def _photographed(evaluation: Evaluation) -> list[_Pair]:
    photos = []
    for name in _PHOTO_NAMES:
        with Image.open(_PHOTOS / name) as opened:
            photos.append(opened.convert("RGB"))
    # The photographs take turns, and none meets a prompt of the other.
    cases = evaluation.cases[: len(photos) * _PROMPTS_PER_PHOTO]
    return [_Pair(case, _fitted(photo, case)) for case, photo in zip(cases, cycle(photos))]


def _fitted(photo: Image.Image, case: Case) -> Pixels:
    size = case.foreground.size
    return np.asarray(resize_reference(photo, *size, ResizeMode.CROP_AND_RESIZE))


def _pictures(
    evaluation: Evaluation, pairs: list[_Pair]
) -> dict[float, tuple[list[Pixels], list[Pixels]]]:
    """By strength those without and those with DeepFusion, in the order of the pairs."""
    settings = [(strength, on) for strength in STRENGTHS for on in (False, True)]
    wanted = [
        pair.case.wanted(
            reference=Image.fromarray(pair.reference), strength=1 - strength, deep_fusion=on
        )
        for strength, on in settings
        for pair in pairs
    ]
    made = iter(evaluation.maker.make(wanted))
    pictures = {setting: [next(made) for _ in pairs] for setting in settings}
    return {
        strength: (pictures[strength, False], pictures[strength, True]) for strength in STRENGTHS
    }


def _compared(pairs: list[_Pair], pictures: tuple[list[Pixels], list[Pixels]]) -> Result:
    """Mean distances, how much nearer that is, and the share of the pictures that came nearer."""
    found: Result = {}
    backgrounds = [background_of(pair.case.render.alpha) for pair in pairs]
    for name, measure in MEASURES.items():
        without, with_it = (
            [
                measure(picture, inside, pair.reference)
                for picture, inside, pair in zip(side, backgrounds, pairs, strict=True)
            ]
            for side in pictures
        )
        nearer = [b < a for a, b in zip(without, with_it, strict=True)]
        found[name] = {
            "without": round(float(np.mean(without)), 3),
            "with": round(float(np.mean(with_it)), 3),
            "nearer_by": round(1 - float(np.mean(with_it)) / float(np.mean(without)), 3),
            "pictures_nearer": share(nearer),
        }
    return found | {"pictures": len(pairs)}
