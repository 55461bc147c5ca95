"""Measures a model on held-out seeds through the product's engine.

    python -m scripts.evaluate_embedded --model FOLDER --work DIR --output DIR
    python -m scripts.evaluate_embedded --model "PICPIK General" --work DIR --output DIR \
        --parts kinds binding --quick

Pictures and the results of each part are kept under the output folder: what is there already is
not made again, so a run can be stopped and gone on with, or done a part at a time. The judge is
trained by `python -m scripts.train_embedded.judge` in the same work folder.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import diffusers

from scripts.evaluate_embedded import controls, likeness, obedience
from scripts.evaluate_embedded.evaluation import QUICK, Evaluation, Part, Result, Sizes
from scripts.evaluate_embedded.fusion import deep_fusion
from scripts.evaluate_embedded.pictures import PictureMaker, find_model
from scripts.evaluate_embedded.report import write_report
from scripts.evaluate_embedded.speed import speed

PARTS: dict[str, Part] = {
    "kinds": obedience.kinds,
    "colors": obedience.colors,
    "times": obedience.times,
    "binding": obedience.binding,
    "steps": obedience.steps,
    "guidance": obedience.guidance,
    "samplers": obedience.samplers,
    "diversity": likeness.diversity,
    "distance": likeness.distance,
    "seam": likeness.seam,
    "growth": likeness.subject_growth,
    "shadows": likeness.shadows,
    "reference": controls.reference,
    "fusion": deep_fusion,
    "adapters": controls.adapters,
    "negative": controls.negative,
    "speed": speed,
}


def main() -> None:
    """Command line; see the module's text."""
    diffusers.logging.set_verbosity_error()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="diffusers folder or entry of the registry")
    parser.add_argument("--models", type=Path, default=Path("models.yaml"), help="the registry")
    parser.add_argument("--work", type=Path, default=Path("training"))
    parser.add_argument("--judge", type=Path, help="WORK/judge by default")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--adapters", nargs="*", default=[], help="sub-models of the registry")
    parser.add_argument("--quick", action="store_true", help="few pictures: does it run?")
    options = parser.parse_args()
    maker = PictureMaker(find_model(options.model, options.models), options.output / "pictures")
    evaluation = Evaluation(
        maker,
        options.work,
        options.judge or options.work / "judge",
        QUICK if options.quick else Sizes(),
        tuple(options.adapters),
    )
    run(evaluation, options.output, options.parts)


def run(evaluation: Evaluation, output: Path, parts: list[str]) -> None:
    """Measures the parts that are not there yet, and writes the report of all that are."""
    folder = output / "results"
    folder.mkdir(parents=True, exist_ok=True)
    settings = evaluation.settings()
    for part in parts:
        if _kept(folder, part, settings) is not None:
            print(f"{part}: kept", flush=True)
            continue
        started = time.monotonic()
        entry = {"settings": settings, "result": PARTS[part](evaluation)}
        (folder / f"{part}.json").write_text(json.dumps(entry, indent=1) + "\n")
        print(f"{part}: {time.monotonic() - started:.0f} s", flush=True)
    kept = {part: _kept(folder, part, settings) for part in PARTS}
    results = {part: result for part, result in kept.items() if result is not None}
    write_report(output, results, evaluation.judge_accuracy())
    print((output / "report.md").read_text())


def _kept(folder: Path, part: str, settings: Result) -> Result | None:
    """An earlier result of a part, if it was measured on the same things."""
    path = folder / f"{part}.json"
    entry = json.loads(path.read_text()) if path.exists() else {}
    return entry["result"] if entry.get("settings") == settings else None


if __name__ == "__main__":
    main()
