"""The results as one JSON file and one Markdown table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scripts.evaluate_embedded.evaluation import Result
from scripts.train_embedded.judge_accuracy import as_table

# label, part, path in its result, what to aim at
_ROWS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("right kind of scene", "kinds", ("right",), ">= 90 %, aim 95 %"),
    ("right kind, worst kind", "kinds", ("worst",), ">= 75 %, aim 90 %"),
    ("right colour", "colors", ("right",), ""),
    ("right time of day", "times", ("right",), ">= 85 %, aim 95 %"),
    ("right time, mean of the times", "times", ("mean_of_times",), ""),
    ("both colours of two parts", "binding", ("right",), ">= 80 %, aim 90 %"),
    ("podium and background", "binding", ("podium", "right"), ""),
    ("wall and floor", "binding", ("studio", "right"), ""),
    ("abstract pairs", "binding", ("abstract", "right"), ""),
    ("diversity, features, renderer = 1", "diversity", ("features",), ""),
    ("diversity, colours, renderer = 1", "diversity", ("layout",), ""),
    ("Frechet distance", "distance", ("frechet",), ""),
    ("Frechet distance of renders", "distance", ("frechet_of_renders",), ""),
    ("kernel distance", "distance", ("kernel",), ""),
    ("kernel distance of renders", "distance", ("kernel_of_renders",), ""),
    ("seam at the outline, renderer = 1", "seam", ("ratio_to_renders",), ""),
    ("growth of the subject", "growth", ("grown",), "<= 2 %"),
    ("growth beyond that of renders", "growth", ("beyond_renders",), ""),
    ("shadow under the product", "shadows", ("present",), ""),
    ("shadow seen on renders", "shadows", ("present_on_renders",), ""),
    ("shadow seen where none is", "shadows", ("present_on_renders_without",), ""),
    ("reference strength monotonic", "reference", ("falls_on_average",), "true"),
    ("negative prompt: probability before", "negative", ("before",), ""),
    ("negative prompt: probability after", "negative", ("after",), ""),
    ("first 512x512 picture, 10 steps, s", "speed", ("first_picture_s",), "<= 6"),
    ("ratio to the bare networks", "speed", ("ratio",), ""),
)
_SHARES = {"right", "worst", "mean_of_times", "grown", "beyond_renders"}
_SHARES |= {"present", "present_on_renders", "present_on_renders_without", "before", "after"}
_CURVES = {"steps": "steps", "guidance": "guidance", "samplers": "sampler"}


def write_report(folder: Path, results: dict[str, Result], judge: Result) -> None:
    """Writes report.json and report.md."""
    report = {"results": results, "judge": judge}
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "report.md").write_text(as_markdown(results, judge))


def as_markdown(results: dict[str, Result], judge: Result) -> str:
    """All that has been measured so far."""
    lines = ["| measure | value | target |", "|---|---|---|"]
    for label, part, path, target in _ROWS:
        if part in results:
            lines.append(f"| {label} | {_shown(results[part], path)} | {target} |")
    for part, name in _CURVES.items():
        if part in results:
            lines += ["", *_curve(name, results[part])]
    if "kinds" in results:
        names = sorted(results["kinds"]["names"].items(), key=lambda item: item[1])
        lines += ["", "| kind | right |", "|---|---|"]
        lines += [f"| {name} | {100 * right:.0f} % |" for name, right in names]
    if "fusion" in results:
        lines += ["", *_fusion(results["fusion"])]
    if "adapters" in results:
        lines += ["", f"Sub-models: `{json.dumps(results['adapters'])}`"]
    if judge:
        lines += ["", "The judge itself, on renders it has never seen:", "", as_table(judge)]
    return "\n".join(lines) + "\n"


def _curve(name: str, points: Result) -> list[str]:
    columns = list(next(iter(points.values())))
    lines = [f"| {name} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for point, values in points.items():
        lines.append(f"| {point} | {' | '.join(str(values[each]) for each in columns)} |")
    return lines


def _fusion(groups: Result) -> list[str]:
    lines = [
        "| reference | ReferStrength | measure | without DeepFusion | with | nearer by | pictures"
        " that came nearer |",
        "|---|---|---|---|---|---|---|",
    ]
    for group, strengths in groups.items():
        for strength, found in strengths.items():
            for measure, of in found.items():
                if measure == "pictures":
                    continue
                nearer = f"{100 * of['nearer_by']:.0f} %"
                how_many = f"{round(of['pictures_nearer'] * found['pictures'])} of"
                lines.append(
                    f"| {group} | {strength} | {measure} | {of['without']} | {of['with']}"
                    f" | {nearer} | {how_many} {found['pictures']} |"
                )
    return lines


def _shown(result: Result, path: tuple[str, ...]) -> str:
    value: Any = result
    for key in path:
        value = value[key]
    if value is None:
        return "-"
    if path[-1] in _SHARES:
        return f"{100 * value:.1f} %"
    return str(value).lower() if isinstance(value, bool) else str(value)
