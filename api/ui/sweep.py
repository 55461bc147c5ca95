"""What a visitor asks for on the sweep's tab: the form's job at every combination of values."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from api.credits import points_of
from api.protocol import RESIZE_MODES, ResizeModeName
from api.sweeps.axes import NEEDS_REFERENCE, BadAxis, RequestAxis, parse_request_axes
from api.sweeps.grid import Coordinates
from api.sweeps.outline import Outline, Place, common_facts
from api.ui.choices import Choices
from backdrop.client import ModelList
from backdrop.client.options import generate_fields

MAX_PICTURES = 100  # of a sweep: a task each

_SECONDS_ARE = "from the task's start to its end as the page saw them, beside others that ran"
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "Steps": ("steps",),
    "CFGScale": ("cfg_scale",),
    "Sampler": ("sampler",),
    "Seed": ("seed",),
    "ReferStrength": ("refer_strength",),
    "ResizeMode": ("resize_mode", "reference_resize_mode"),
    "DeepFusion": ("deep_fusion",),
    "Model": ("model",),
}


@dataclass(frozen=True, slots=True)
class Point:
    """One picture of a sweep.

    Attributes:
        coordinates: position of its value on each axis.
        choices: what paints it alone.
    """

    coordinates: Coordinates
    choices: Choices


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep with nothing left open.

    Attributes:
        choices: what all points start from.
        axes: one to three.
        points: one for each combination of values, the last axis running fastest.
    """

    choices: Choices
    axes: tuple[RequestAxis, ...]
    points: tuple[Point, ...]

    def title(self, index: int) -> str:
        """A point as people call it: `Steps 6, Seed 1`."""
        coordinates = self.points[index].coordinates
        return ", ".join(
            f"{each.axis.name} {each.axis.label(at)}"
            for each, at in zip(self.axes, coordinates, strict=True)
        )

    def order(self) -> list[int]:
        """Indexes of the points, those of one model together, so that they share batches."""
        models = list(dict.fromkeys(point.choices.model for point in self.points))
        return sorted(
            range(len(self.points)),
            key=lambda index: models.index(self.points[index].choices.model),
        )

    def price(self, base_points_per_megapixel_step: float) -> int:
        """Credits it costs when every picture is painted; the service may find some cheaper."""
        return sum(
            points_of(
                width_px=choices.width,
                height_px=choices.height,
                num_inference_steps=choices.steps,
                num_images=1,
                base_points_per_megapixel_step=base_points_per_megapixel_step,
                deep_fusion=_reads_reference(choices),
            )
            for choices in (point.choices for point in self.points)
        )

    def outline(self, icc_profile: bytes | None) -> Outline:
        """What the reports tell of it.

        Args:
            icc_profile: of the foreground.
        """
        return Outline(
            axes=tuple(each.axis for each in self.axes),
            places=tuple(_place(index, point) for index, point in enumerate(self.points)),
            facts=common_facts(_facts(point.choices) for point in self.points),
            seconds_are=_SECONDS_ARE,
            icc_profile=icc_profile,
        )


def sweep_of(choices: Choices, axes: Sequence[str], models: ModelList | None) -> Sweep:
    """The sweep of a job; a seed that is left to chance is drawn once for all points.

    Args:
        choices: the job; of its images one is painted at each point.
        axes: NAME=VALUES each, as `backdrop sweep` takes them.
        models: what the service offers, to be named in time; None where that is not known.

    Raises:
        BadAxis: an axis or a value cannot be used, or there are too many points.
    """
    parsed = parse_request_axes(axes)
    for axis in parsed:
        _check(axis, choices, models)
    job = replace(choices.with_seed(), batch_size=1)
    ranges = [range(len(axis.values)) for axis in parsed]
    points = tuple(
        Point(coordinates, _applied(job, parsed, coordinates))
        for coordinates in itertools.product(*ranges)
    )
    if len(points) > MAX_PICTURES:
        raise BadAxis(
            f"the axes span {len(points)} pictures; the page takes {MAX_PICTURES} at a time,"
            " the command `backdrop sweep` more"
        )
    return Sweep(job, parsed, points)


def request_of(choices: Choices) -> dict[str, Any]:
    """Fields of the request but its images, for a table of results."""
    options = choices.options()
    if "reference" in options:
        options["reference"] = b""
    fields = generate_fields(b"", options)
    del fields["ImageList"]
    return fields


def _check(axis: RequestAxis, choices: Choices, models: ModelList | None) -> None:
    name = axis.axis.name
    if name in NEEDS_REFERENCE and choices.reference is None:
        raise BadAxis(f"axis {name}: needs a background reference in the first tab")
    if models is None:
        return
    lora = axis.axis.adapter_name
    if lora is not None and lora not in models.loras:
        raise BadAxis(f"axis {name}: there is no such LoRA; {_known(models.loras)}")
    if name == "Model":
        for model in axis.values:
            if model not in models.main:
                raise BadAxis(
                    f"axis {name}: {model}: there is no such model; {_known(models.main)}"
                )


def _known(names: Mapping[str, object]) -> str:
    return f"there are {', '.join(names)}" if names else "there are none"


def _applied(choices: Choices, axes: Sequence[RequestAxis], coordinates: Coordinates) -> Choices:
    for axis, at in zip(axes, coordinates, strict=True):
        value, lora = axis.values[at], axis.axis.adapter_name
        if lora is not None:
            choices = replace(choices, lora_weights={**choices.lora_weights, lora: value})
        else:
            plain: Any = str(value) if isinstance(value, ResizeModeName) else value
            choices = replace(choices, **dict.fromkeys(_CHOICES[axis.axis.name], plain))
    return choices


def _reads_reference(choices: Choices) -> bool:
    """Whether DeepFusion has an effect, and with it a price."""
    return choices.reference is not None and choices.deep_fusion and 0 < choices.refer_strength < 1


def _place(index: int, point: Point) -> Place:
    choices = point.choices
    return Place(
        index=index,
        coordinates=point.coordinates,
        width_px=choices.width,
        height_px=choices.height,
        foreground_resize_mode=RESIZE_MODES[ResizeModeName(choices.resize_mode)],
        reference_resize_mode=RESIZE_MODES[ResizeModeName(choices.reference_resize_mode)],
        forwards=None,
    )


def _facts(choices: Choices) -> dict[str, object]:
    has_reference, options = choices.reference is not None, choices.options()
    return {
        "Prompt": ", ".join(options["prompts"]),
        "Negative prompt": ", ".join(options.get("negative_prompts", ())),
        "Model": choices.model or "",
        "LoRAs": ", ".join(f"{name} {weight:g}" for name, weight in choices.lora_weights.items()),
        "Embeddings": ", ".join(choices.embeddings),
        "Steps": choices.steps,
        "Sampler": choices.sampler or "",
        "CFGScale": "" if choices.cfg_scale is None else f"{choices.cfg_scale:g}",
        "ReferStrength": f"{choices.refer_strength:g}" if has_reference else "",
        "DeepFusion": "on" if has_reference and choices.deep_fusion else "",
        "Seed": choices.seed,
        "Size": f"{choices.width}x{choices.height}",
    }
