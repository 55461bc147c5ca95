"""`Steps=6,10,20` -> an axis; every value is checked as a request's field would be."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from api.errors import ApiError
from api.protocol import (
    RANDOM_SEED,
    RESIZE_MODES,
    SAMPLERS,
    BackgroundImageParam,
    GenerateBackgroundsRequest,
    InferenceSettings,
    MainModelChoice,
)
from api.wire_types import validate
from engine.sweep import MAX_POINTS, Axis, check_axes

LORA = "lora:"
_NUMBER = re.compile(r"[+-]?\d{1,12}(\.\d{1,9})?")
_SWITCHES = {"on": True, "true": True, "off": False, "false": False}


class BadAxis(ValueError):
    """An axis cannot be used; the message names it, and the value."""


@dataclass(frozen=True, slots=True)
class RequestAxis:
    """An axis as a request spells it.

    Attributes:
        axis: over the engine's setting, called and labelled as it was written.
        values: of the request's field, one for each of the axis's.
    """

    axis: Axis
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What an axis of a name sweeps.

    Attributes:
        setting: of the engine's `Axis`.
        model: the part of a request that holds the field.
        field: its wire name.
        others: fields the part requires beside it.
        to_engine: wire value -> the engine's.
        is_number: whether values may be ranges.
    """

    setting: str
    model: type[BaseModel]
    field: str
    others: Mapping[str, Any]
    to_engine: Callable[[Any], Any] = lambda value: value
    is_number: bool = True


_REFERENCE = {"ImageIndex": 0}
_KINDS: Mapping[str, _Kind] = {
    "Steps": _Kind("num_inference_steps", InferenceSettings, "Steps", {}),
    "CFGScale": _Kind("guidance_scale", InferenceSettings, "CFGScale", {}),
    "Sampler": _Kind(
        "sampler", InferenceSettings, "Sampler", {}, SAMPLERS.__getitem__, is_number=False
    ),
    "Seed": _Kind("seed", GenerateBackgroundsRequest, "Seed", {"TransparentImageIndexList": [0]}),
    "ReferStrength": _Kind(
        "strength", BackgroundImageParam, "ReferStrength", _REFERENCE, lambda value: 1.0 - value
    ),
    "ResizeMode": _Kind(
        "resize_mode",
        BackgroundImageParam,
        "ResizeMode",
        _REFERENCE,
        RESIZE_MODES.__getitem__,
        is_number=False,
    ),
    "DeepFusion": _Kind(
        "deep_fusion", BackgroundImageParam, "DeepFusion", _REFERENCE, is_number=False
    ),
    "Model": _Kind("model_name", MainModelChoice, "ModelCode", {}, is_number=False),
}
_BY_LOWER_CASE = {name.lower(): name for name in _KINDS}
NEEDS_REFERENCE = ("ReferStrength", "DeepFusion")
FIELD_AXES = tuple(_KINDS)
AXIS_NAMES = (*FIELD_AXES, f"{LORA}NAME")


def parse_axes(texts: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of `parse_request_axes` over the engine's settings.

    Raises:
        BadAxis: one cannot be used, or they do not go together.
    """
    return tuple(each.axis for each in parse_request_axes(texts))


def parse_request_axes(texts: Sequence[str]) -> tuple[RequestAxis, ...]:
    """Axes as the command line and the page spell them.

    Args:
        texts: each NAME=VALUES. NAME is one of AXIS_NAMES in any case. VALUES are separated by
            commas, a value with a comma stands in double quotes, and first..last or
            first..last:step is a range of numbers, whose step is 1 by default.

    Raises:
        BadAxis: one cannot be used, or they do not go together.
    """
    axes = tuple(_parse_axis(text) for text in texts)
    try:
        check_axes([each.axis for each in axes])
    except ValueError as exc:
        raise BadAxis(str(exc)) from exc
    return axes


def _parse_axis(text: str) -> RequestAxis:
    # A LoRA may have an equals sign in its name, and no weight has one.
    is_lora = text.lower().startswith(LORA)
    name, equals, values = text.rpartition("=") if is_lora else text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise BadAxis(f"axis {text}: write NAME=VALUE,VALUE,...")
    if is_lora:
        title = LORA + name[len(LORA) :].strip()
        kind = _Kind(title, InferenceSettings, "LoraWeight", {})
    elif name.lower() in _BY_LOWER_CASE:
        title = _BY_LOWER_CASE[name.lower()]
        kind = _KINDS[title]
    else:
        raise BadAxis(f"axis {name}: there is no such axis; there are {', '.join(AXIS_NAMES)}")
    labels = tuple(_values(title, values, is_number=kind.is_number))
    on_the_wire = tuple(_wire_value(title, label, kind) for label in labels)
    axis = Axis(kind.setting, tuple(map(kind.to_engine, on_the_wire)), title, labels)
    return RequestAxis(axis, on_the_wire)


def _values(title: str, text: str, *, is_number: bool) -> Iterator[str]:
    try:
        row = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as exc:
        raise BadAxis(f"axis {title}: {text}: {exc}") from exc
    for value in (each.strip() for each in row):
        if is_number and ".." in value:
            yield from _range(title, value)
        else:
            yield value


def _range(title: str, text: str) -> Iterator[str]:
    """The numbers of first..last or first..last:step, last included where a step meets it."""
    ends, _, step_text = text.partition(":")
    first, last, step = (
        _number(title, text, each) for each in (*ends.split("..", 1), step_text or "1")
    )
    if step == 0 or (last - first) * step < 0:
        raise BadAxis(f"axis {title}: {text}: a step of {step} does not lead there")
    count = int((last - first) / step) + 1
    if count > MAX_POINTS:
        raise BadAxis(f"axis {title}: {text}: more than {MAX_POINTS} values")
    for index in range(count):
        yield _plain(first + index * step)


def _number(title: str, whole: str, text: str) -> Decimal:
    if not _NUMBER.fullmatch(text.strip()):
        raise BadAxis(f"axis {title}: {whole}: {text.strip()!r} is not a number")
    return Decimal(text.strip())


def _plain(number: Decimal) -> str:
    """Without trailing zeros and exponent."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _wire_value(title: str, label: str, kind: _Kind) -> Any:
    value: object = label
    if kind.is_number:
        number = _number(title, label, label)
        value = int(number) if number == number.to_integral_value() else float(number)
    elif kind.setting == "deep_fusion":
        value = _SWITCHES.get(label.lower(), label)
    try:
        part = validate(kind.model, {**kind.others, kind.field: value})
    except ApiError as exc:
        reason = str(exc).partition(": ")[2] or str(exc)
        raise BadAxis(f"axis {title}: {label}: {reason}") from exc
    if value == RANDOM_SEED and kind.setting == "seed":
        raise BadAxis(f"axis {title}: {label}: a sweep names its seeds")
    return getattr(part, kind.field)
