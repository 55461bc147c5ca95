"""`backdrop sweep`: a sweep in this process, with progress bars."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.cli_options import UsageFault
from api.generate import job_from_files, local_engine
from api.job_options import JobOptions
from api.protocol import RANDOM_SEED
from api.settings import Settings
from api.sweeps.axes import AXIS_NAMES, NEEDS_REFERENCE, parse_axes
from api.sweeps.folder import PaintedPoint, SweepFolder, open_sweep_folder, read_manifest
from api.sweeps.identity import identity_of
from api.sweeps.planned import outline_of
from api.sweeps.reports import write_reports
from api.sweeps.results import PictureMeasurer
from api.sweeps.run import paint_missing
from engine.registry import Registry
from engine.sweep import SweepPlan, plan_sweep
from engine.sweep_run import PointFailed, PointStep

AXIS_HELP = (
    "NAME=VALUES, one to three times. Names: " + ", ".join(AXIS_NAMES) + ". Values: 6,10,20 or "
    "first..last:step; one with a comma in it stands in double quotes."
)
SWEEP_EXAMPLES = """Examples:

backdrop sweep cutout.png --prompt "blue sky" --axis Steps=6,10,20 --axis Seed=1..4

backdrop sweep cutout.png --prompt "a beach" --axis "lora:golden hour=-1..2:0.5" --axis CFGScale=2..6

backdrop sweep cutout.png --reference lake.jpg --axis ReferStrength=0.1..0.9:0.2
--axis DeepFusion=off,on --output lake-sweep
"""


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """What a call has done.

    Attributes:
        folder: of the sweep.
        points: of the sweep.
        painted: by this call.
        kept: painted by calls before.
        failed: a line on each point that ended without a picture.
        files: the reports.
    """

    folder: Path
    points: int
    painted: int
    kept: int
    failed: tuple[str, ...]
    files: tuple[Path, ...]

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), default=str, ensure_ascii=False)


def plan_from_files(
    options: JobOptions,
    axes: Sequence[str],
    *,
    foreground: Path,
    output: Path,
    settings: Settings,
    registry: Registry,
) -> SweepPlan:
    """The plan of a sweep as the command line spells it; writes nothing.

    A seed that is left to chance is drawn once: the folder of a sweep keeps it.

    Raises:
        BadAxis: an axis or a value cannot be used.
        UsageFault: options do not go together.
        ApiError: a field is wrong.
        EngineError: a point cannot be done, or an image cannot be used.
        SweepRefused: the folder holds no sweep that can be read.
        OSError: a file cannot be read.
    """
    parsed = parse_axes(axes)
    for axis in parsed:
        if axis.name in NEEDS_REFERENCE and options.reference is None:
            raise UsageFault(f"axis {axis.name}: needs --reference")
    fields = options.fields()
    manifest = read_manifest(output)
    if manifest is not None and options.seed in (None, RANDOM_SEED):
        fields["Seed"] = manifest["seed"]
    job = job_from_files(
        fields,
        foreground=foreground,
        reference=options.reference,
        settings=settings,
        registry=registry,
    )
    return plan_sweep(job, parsed, registry)


def sweep_into(
    path: Path, plan: SweepPlan, *, registry: Registry, device: str, settings: Settings
) -> SweepOutcome:
    """Paints what the folder lacks and writes the reports.

    Raises:
        SweepRefused: the folder cannot take this sweep.
        OSError: it cannot be written.
        EngineError: the engine cannot be set up.
    """
    identity = identity_of(plan, device=device, batch_invariant=settings.batch_invariant)
    with open_sweep_folder(path) as folder, _progress() as progress:
        painted = folder.claim(identity, plan.job.seed)
        kept = len(painted)
        failures: dict[int, str] = {}
        if kept < len(plan.points):
            engine = local_engine(registry, device=device, settings=settings)
            missing = [point for point in plan.points if point.index not in painted]
            bar = progress.add_task("painting", total=sum(p.plan.total_steps for p in missing))
            for event in paint_missing(
                engine, plan, folder, painted, write_parameters=settings.write_parameters
            ):
                if isinstance(event, PointStep):
                    progress.advance(bar)
                elif isinstance(event, PointFailed):
                    failures[event.point.index] = str(event.error)
        files = _report(plan, folder, painted, failures, progress)
    return SweepOutcome(
        folder=path,
        points=len(plan.points),
        painted=len(painted) - kept,
        kept=kept,
        failed=tuple(_failure_lines(plan, failures)),
        files=tuple(files),
    )


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))


def _report(
    plan: SweepPlan,
    folder: SweepFolder,
    painted: Mapping[int, PaintedPoint],
    failures: Mapping[int, str],
    progress: Progress,
) -> list[Path]:
    outline, job = outline_of(plan), plan.job
    measurer = PictureMeasurer(
        outline, folder.path, foreground=job.foreground, reference=job.reference
    )
    measured = measurer.measure_all(painted)
    results = list(progress.track(measured, total=len(painted), description="measuring"))
    return write_reports(outline, folder.path, results, failures)


def _failure_lines(plan: SweepPlan, failures: Mapping[int, str]) -> Sequence[str]:
    lines = []
    for index, message in sorted(failures.items()):
        labels = zip(plan.axes, plan.labels(plan.points[index]), strict=True)
        lines.append(f"{', '.join(f'{axis.name} {text}' for axis, text in labels)}: {message}")
    return lines
