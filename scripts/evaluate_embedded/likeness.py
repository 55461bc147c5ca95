"""How like the renderer's pictures the generated ones are: as a set, and around the product."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from engine.picture_measures import seam_gradients
from scripts.evaluate_embedded.contours import growth
from scripts.evaluate_embedded.evaluation import Evaluation, Result, layout
from scripts.evaluate_embedded.pictures import Pixels
from scripts.evaluate_embedded.statistics import (
    frechet_distance,
    kernel_distance,
    mean_distance,
    share,
)
from scripts.train_embedded.held_out import HeldOut, paste
from scripts.train_embedded.judge_data import throws_shadow
from scripts.train_embedded.judge_labels import HEADS, true_answers


def diversity(evaluation: Evaluation) -> Result:
    """Pictures of one prompt with several seeds against renders that share its labels.

    The prompt's product stands before the renders, too, so that only backgrounds differ. Distances
    are those of the judge's features and of coarse colours; 1 is as diverse as the renderer.
    """
    by_kind: dict[str, Result] = {}
    ratios: dict[str, list[float]] = {"features": [], "layout": []}
    for case in evaluation.cases[: evaluation.sizes.diversity]:
        record = case.render.record
        seeds = range(record.seed, record.seed + evaluation.sizes.seeds)
        generated = evaluation.maker.make([case.wanted(seed=seed) for seed in seeds])
        same_kind = [
            render
            for render in (*(c.render for c in evaluation.cases), *evaluation.compared)
            if render.record.kind == record.kind
        ]
        color = np.asarray(case.foreground)[..., :3]
        rendered = [paste(color, case.render.alpha, each.background) for each in same_kind]
        found = {}
        own_pairs = list(combinations(range(len(generated)), 2))
        label_pairs = _same_labels(same_kind)
        for name, vectors in (("features", _features), ("layout", _layouts)):
            own = mean_distance(vectors(evaluation, generated), own_pairs)
            renderers = mean_distance(vectors(evaluation, rendered), label_pairs)
            found[name] = own
            found[f"{name}_of_renders"] = renderers
            if own is not None and renderers:
                ratios[name].append(own / renderers)
        by_kind[record.kind] = found
    return {
        "features": _mean(ratios["features"]),
        "layout": _mean(ratios["layout"]),
        "kinds_compared": len(ratios["features"]),
        "kinds": by_kind,
    }


def distance(evaluation: Evaluation) -> Result:
    """Frechet and kernel distance from fresh renders; beside them those of other renders."""
    generated = evaluation.read(evaluation.pictures).features
    renders = evaluation.read([render.image for render in evaluation.compared]).features
    prompts_own = evaluation.read([case.render.image for case in evaluation.cases]).features
    return {
        "frechet": round(frechet_distance(generated, renders), 3),
        "kernel": round(kernel_distance(generated, renders), 4),
        "frechet_of_renders": round(frechet_distance(prompts_own, renders), 3),
        "kernel_of_renders": round(kernel_distance(prompts_own, renders), 4),
        "pictures": len(generated),
    }


def seam(evaluation: Evaluation) -> Result:
    """How much steeper the background is at the outline than far away, against the renderer's."""
    pairs = zip(evaluation.cases, evaluation.pictures, strict=True)
    generated = [seam_gradients(image, case.render.alpha) for case, image in pairs]
    renders = [seam_gradients(case.render.image, case.render.alpha) for case in evaluation.cases]
    # Only where both can be measured: products that fill the picture leave no far background.
    both = [(a, b) for a, b in zip(generated, renders, strict=True) if a and b]
    (near, far), (render_near, render_far) = np.mean(both, axis=0) if both else np.ones((2, 2))
    return {
        "near": round(float(near), 5),
        "far": round(float(far), 5),
        "near_of_renders": round(float(render_near), 5),
        "far_of_renders": round(float(render_far), 5),
        "ratio_to_renders": round(float((near / far) / (render_near / render_far)), 3),
        "pictures": len(both),
    }


def subject_growth(evaluation: Evaluation) -> Result:
    """Area grown out of the product, as a share of the product's; real composites calibrate it."""
    generated, renders = [], []
    for case, image in zip(evaluation.cases, evaluation.pictures, strict=True):
        render = case.render
        generated.append(growth(image, render.alpha, upright=render.upright))
        renders.append(growth(render.image, render.alpha, upright=render.upright))
    return {
        "grown": round(float(np.mean(generated)), 5),
        "grown_on_renders": round(float(np.mean(renders)), 5),
        "beyond_renders": round(float(np.mean(generated) - np.mean(renders)), 5),
        "over_2_percent": share([each > 0.02 for each in generated]),
        "worst_case": round(float(np.max(generated)), 4),
        "pictures": len(generated),
    }


def shadows(evaluation: Evaluation) -> Result:
    """Whether products throw a shadow where the renderer's do, as the judge sees it."""
    pairs = zip(evaluation.cases, evaluation.pictures, strict=True)
    grounded = [(case, image) for case, image in pairs if _is_shaded(case.render)]
    seen = {
        "present": [image for _, image in grounded],
        "present_on_renders": [case.render.image for case, _ in grounded],
        "present_on_renders_without": [case.render.without_shadow for case, _ in grounded],
    }
    found: Result = {"pictures": len(grounded)}
    for name, images in seen.items():
        readings = evaluation.read(images)
        found[name] = share([readings.answer(i, "shadow") == ("with",) for i in range(len(images))])
    readings = evaluation.read(seen["present"])
    shown = readings.probabilities["shadow"][:, HEADS["shadow"].index("with")]
    by_kind: dict[str, list[bool]] = {}
    for (case, _), probability in zip(grounded, shown, strict=True):
        by_kind.setdefault(case.render.record.kind, []).append(bool(probability > 0.5))
    return found | {"kinds": {kind: share(hits) for kind, hits in sorted(by_kind.items())}}


def _is_shaded(render: HeldOut) -> bool:
    return render.grounded and throws_shadow(render.image, render.alpha, render.background)


def _same_labels(renders: list[HeldOut]) -> list[tuple[int, int]]:
    """Pairs of renders that a caption of kind, colours and time would not tell apart."""
    labels = [true_answers(render.record) for render in renders]
    return [(i, j) for i, j in combinations(range(len(renders)), 2) if labels[i] == labels[j]]


def _features(evaluation: Evaluation, images: list[Pixels]) -> np.ndarray:
    return evaluation.read(images).features


def _layouts(_: Evaluation, images: list[Pixels]) -> np.ndarray:
    return np.stack([layout(image) for image in images])


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None
