"""Whether pictures show what their prompts say, and how that depends on the settings."""

from __future__ import annotations

from typing import Any

from engine.job import Sampler
from scripts.evaluate_embedded.cases import binding_cases, time_cases
from scripts.evaluate_embedded.evaluation import Evaluation, Result, adherence
from scripts.evaluate_embedded.statistics import kernel_distance, share
from scripts.train_embedded.judge_labels import COLOR_HEADS

STEPS = (6, 10, 20, 50)
GUIDANCE = (1.5, 3.0, 5.0, 7.5)
TWO_PART_KINDS = ("podium", "studio", "abstract")


def kinds(evaluation: Evaluation) -> Result:
    """Adherence by scene kind; beside it what the judge says of the prompts' own renders."""
    cases = evaluation.cases
    found = adherence(evaluation.read(evaluation.pictures), cases)["kind"]
    renders = adherence(evaluation.read([case.render.image for case in cases]), cases)["kind"]
    worst = min(found["names"], key=lambda name: found["names"][name])
    return found | {
        "worst": found["names"][worst],
        "worst_kind": worst,
        "right_on_renders": renders["right"],
    }


def colors(evaluation: Evaluation) -> Result:
    """Adherence by colour name wherever the caption names one."""
    cases = evaluation.cases
    found = adherence(evaluation.read(evaluation.pictures), cases)["color"]
    renders = adherence(evaluation.read([case.render.image for case in cases]), cases)["color"]
    return found | {"right_on_renders": renders["right"]}


def times(evaluation: Evaluation) -> Result:
    """Adherence by time of day on landscapes; the mean over the times, each counting the same."""
    cases = time_cases(evaluation.cases)
    pictures = evaluation.maker.make([case.wanted() for case in cases])
    found = adherence(evaluation.read(pictures), cases)["time"]
    renders = adherence(evaluation.read([case.render.image for case in cases]), cases)["time"]
    shares = list(found["names"].values())
    return found | {
        "mean_of_times": round(sum(shares) / len(shares), 4) if shares else None,
        "right_on_renders": renders["right"],
    }


def binding(evaluation: Evaluation) -> Result:
    """Two parts, two colours: whether both are right, and how often they are swapped."""
    found: Result = {}
    everything: list[bool] = []
    for kind in TWO_PART_KINDS:
        cases = binding_cases(evaluation.renders_folder, kind, evaluation.sizes.binding)
        readings = evaluation.read(evaluation.maker.make([case.wanted() for case in cases]))
        own = evaluation.read([case.render.image for case in cases])
        both, on_renders, swapped = [], [], []
        for index, case in enumerate(cases):
            truth = {head: names for head, names in case.truth.items() if head in COLOR_HEADS}
            both.append(all(readings.is_right(index, *item) for item in truth.items()))
            on_renders.append(all(own.is_right(index, *item) for item in truth.items()))
            if len(truth) == 2:
                first, second = truth
                said = [readings.answer(index, head) for head in (first, second)]
                swapped.append(said == [truth[second], truth[first]])
        everything += both
        found[kind] = {
            "right": share(both),
            "asked": len(both),
            "swapped": share(swapped),
            "right_on_renders": share(on_renders),
        }
    return {"right": share(everything), "asked": len(everything)} | found


def steps(evaluation: Evaluation) -> Result:
    """Adherence and distance from the renders over the number of steps."""
    return {str(n): _point(evaluation, num_inference_steps=n) for n in STEPS}


def guidance(evaluation: Evaluation) -> Result:
    """The same over the guidance scale."""
    return {str(scale): _point(evaluation, guidance_scale=scale) for scale in GUIDANCE}


def samplers(evaluation: Evaluation) -> Result:
    """The same over the samplers, 10 steps each."""
    return {str(sampler): _point(evaluation, sampler=sampler) for sampler in Sampler}


def _point(evaluation: Evaluation, **settings: Any) -> Result:
    cases = evaluation.cases[: evaluation.sizes.curve]
    readings = evaluation.read(evaluation.maker.make([case.wanted(**settings) for case in cases]))
    found = adherence(readings, cases)
    renders = evaluation.read([render.image for render in evaluation.compared])
    return {
        "kind": found["kind"]["right"],
        "color": found["color"]["right"],
        "time": found["time"]["right"],
        "kernel_distance": round(kernel_distance(readings.features, renders.features), 4),
        "pictures": len(cases),
    }
