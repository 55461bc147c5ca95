"""Axes over a job -> its points, each a job that is planned before anything runs. Imports no torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from engine.errors import JobError, ParameterOutOfRange
from engine.job import AdapterWeight, GenerationJob, ResizeMode, Sampler
from engine.plan import GenerationPlan, plan_job
from engine.registry import Registry

MAX_AXES = 3
MAX_POINTS = 1000
_LORA = "lora:"

# What an axis may be -> the fields of `GenerationJob` it sets, and the types of their values.
_SETTINGS: dict[str, tuple[tuple[str, ...], tuple[type, ...]]] = {
    "num_inference_steps": (("num_inference_steps",), (int,)),
    "guidance_scale": (("guidance_scale",), (int, float)),
    "sampler": (("sampler",), (Sampler,)),
    "seed": (("seed",), (int,)),
    "strength": (("strength",), (int, float)),
    "deep_fusion": (("deep_fusion",), (bool,)),
    "resize_mode": (("foreground_resize_mode", "reference_resize_mode"), (ResizeMode,)),
    "foreground_resize_mode": (("foreground_resize_mode",), (ResizeMode,)),
    "reference_resize_mode": (("reference_resize_mode",), (ResizeMode,)),
    "model_name": (("model_name",), (str,)),
}


@dataclass(frozen=True, slots=True)
class Axis:
    """One setting and the values it takes.

    Attributes:
        setting: a field of `GenerationJob`: num_inference_steps, guidance_scale, sampler, seed,
            strength, deep_fusion, foreground_resize_mode, reference_resize_mode or model_name; or
            resize_mode for both of these, or lora:NAME for the weight of that LoRA.
        values: at least one, none twice, as the field takes them.
        title: what messages and reports call it; default `setting`.
        labels: what they call the values, one each; default the values themselves.
    """

    setting: str
    values: tuple[Any, ...]
    title: str = ""
    labels: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the axis, as people read it."""
        return self.title or self.setting

    @property
    def adapter_name(self) -> str | None:
        """The LoRA whose weight it is; None of every other axis."""
        return self.setting.removeprefix(_LORA) if self.setting.startswith(_LORA) else None

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of `GenerationJob` it sets."""
        return ("adapters",) if self.adapter_name is not None else _SETTINGS[self.setting][0]

    def label(self, position: int) -> str:
        """The value at that position, as people read it."""
        return self.labels[position] if self.labels else _label(self.values[position])

    def applied(self, job: GenerationJob, position: int) -> GenerationJob:
        """`job` with the value at that position."""
        value = self.values[position]
        if self.adapter_name is None:
            return replace(job, **dict.fromkeys(self.fields, value))
        others = [each for each in job.adapters if each.adapter_name != self.adapter_name]
        at = next(
            (i for i, a in enumerate(job.adapters) if a.adapter_name == self.adapter_name),
            len(others),
        )
        adapters = (*others[:at], AdapterWeight(self.adapter_name, value), *others[at:])
        return replace(job, adapters=adapters)


@dataclass(frozen=True, slots=True, eq=False)
class SweepPoint:
    """One picture of a sweep.

    Attributes:
        index: 0-based position in the sweep; the last axis runs fastest.
        coordinates: position of its value on each axis.
        plan: of its job.
    """

    index: int
    coordinates: tuple[int, ...]
    plan: GenerationPlan

    @property
    def job(self) -> GenerationJob:
        """Alone it gives the picture of this point."""
        return self.plan.job


@dataclass(frozen=True, slots=True, eq=False)
class SweepPlan:
    """A sweep with nothing left open.

    Attributes:
        job: what all points start from.
        axes: one to three.
        points: one for each combination of values.
    """

    job: GenerationJob
    axes: tuple[Axis, ...]
    points: tuple[SweepPoint, ...]

    @property
    def total_steps(self) -> int:
        """UNet forwards, or steps of a pipeline, of all points."""
        return sum(point.plan.total_steps for point in self.points)

    def labels(self, point: SweepPoint) -> tuple[str, ...]:
        """The point's value on each axis, as people read it."""
        return tuple(a.label(at) for a, at in zip(self.axes, point.coordinates, strict=True))


def plan_sweep(job: GenerationJob, axes: Sequence[Axis], registry: Registry) -> SweepPlan:
    """Resolves and checks every point.

    Args:
        job: what all points start from; one image.
        axes: one to three, each over another setting.
        registry: the models.

    Raises:
        JobError: a point cannot be done as asked; the message names axis and value.
        WeightsUnavailable: files of a model or sub-model are broken.
        ValueError: the axes themselves are wrong.
    """
    check_axes(axes)
    if job.num_images != 1:
        raise ParameterOutOfRange("a sweep paints one image a point", field="num_images")
    points: list[SweepPoint] = []
    for coordinates in itertools.product(*(range(len(axis.values)) for axis in axes)):
        index = len(points)
        point_job = replace(job, job_id=f"{job.job_id}-{index}")
        for axis, position in zip(axes, coordinates, strict=True):
            point_job = axis.applied(point_job, position)
        plan = _plan_point(job, point_job, axes, coordinates, registry)
        points.append(SweepPoint(index, coordinates, plan))
    return SweepPlan(job, tuple(axes), tuple(points))


def check_axes(axes: Sequence[Axis]) -> None:
    """Refuses axes that make no sweep, whatever the job.

    Raises:
        ValueError: too many or too few axes or values, a setting that cannot be swept or is swept
            twice, a value that stands twice or is of another type.
    """
    if not 1 <= len(axes) <= MAX_AXES:
        raise ValueError(f"a sweep has 1 to {MAX_AXES} axes, not {len(axes)}")
    for axis in axes:
        _check_axis(axis)
    if twice := _first_repeated(field for axis in axes for field in _targets(axis)):
        raise ValueError(f"two axes set {twice}")
    num_points = math.prod(len(axis.values) for axis in axes)
    if num_points > MAX_POINTS:
        raise ValueError(f"the axes span {num_points} points, more than {MAX_POINTS}")


def _check_axis(axis: Axis) -> None:
    if axis.adapter_name is None and axis.setting not in _SETTINGS:
        raise ValueError(
            f"axis {axis.name}: cannot be swept; these can: {', '.join(_SETTINGS)}, lora:NAME"
        )
    if axis.adapter_name == "":
        raise ValueError("axis lora: names no LoRA")
    if not axis.values:
        raise ValueError(f"axis {axis.name}: has no values")
    if axis.labels and len(axis.labels) != len(axis.values):
        raise ValueError(f"axis {axis.name}: needs a label for each value")
    types = (int, float) if axis.adapter_name is not None else _SETTINGS[axis.setting][1]
    for position, value in enumerate(axis.values):
        is_other_type = isinstance(value, bool) and bool not in types
        if is_other_type or not isinstance(value, types):
            expected = " or ".join(each.__name__ for each in types)
            raise ValueError(f"axis {axis.name}: {axis.label(position)}: not of type {expected}")
    if (twice := _first_repeated(axis.values)) is not None:
        label = axis.label(axis.values.index(twice))
        raise ValueError(f"axis {axis.name}: {label}: stands twice")


def _targets(axis: Axis) -> tuple[str, ...]:
    return axis.fields if axis.adapter_name is None else (axis.setting,)


def _first_repeated(values: Iterable[Any]) -> Any:
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def _plan_point(
    base: GenerationJob,
    job: GenerationJob,
    axes: Sequence[Axis],
    coordinates: Sequence[int],
    registry: Registry,
) -> GenerationPlan:
    try:
        return plan_job(job, registry)
    except JobError as exc:
        error = exc
    there = list(zip(axes, coordinates, strict=True))
    at_fault = [(axis, at) for axis, at in there if error.field in axis.fields]
    if not at_fault:
        plan_job(base, registry)  # what is wrong without any axis is told without one
        at_fault = there
    where = ", ".join(f"axis {axis.name}: {axis.label(at)}" for axis, at in at_fault)
    raise type(error)(f"{where}: {error}", field=error.field) from error


def _label(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
