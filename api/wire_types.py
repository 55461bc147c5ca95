"""The protocol's scalar types, and wire models that refuse in its words (sections 3, 7 and 10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from api.errors import ApiError, MalformedRequest, MissingParameter


def _without_nul(value: str) -> str:
    if "\x00" in value:  # PostgreSQL stores no NUL
        raise ValueError("contains a NUL character")
    return value


Item = TypeVar("Item")

String = Annotated[str, Strict(), AfterValidator(_without_nul)]
Bool = Annotated[bool, Strict()]
Int = Annotated[int, Strict()]  # `rawjson` reads 10.0 as one
Float = Annotated[float, Strict()]  # takes integers, no strings
Url = Annotated[String, Field(max_length=2_000)]
List = Annotated[list[Item], FailFast()]


class WireModel(BaseModel):
    """Part of a request: null is absence, unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None}


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], data: object) -> Model:
    """`data` as `model`, or the protocol's error for the first thing wrong with it.

    Raises:
        MissingParameter: a required field is absent; told before anything else.
        MalformedRequest: a field has the wrong type, range or content.
    """
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        raise _refusal(exc) from exc


def _refusal(exc: ValidationError) -> ApiError:
    errors = exc.errors(include_url=False, include_input=False)
    for error in errors:
        if error["type"] == "missing":
            return MissingParameter(field_path((*error["loc"], *_named(error))))
    first = errors[0]
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "model_type":  # pydantic's text speaks of Python classes
        reason = "Input should be an object"
    return MalformedRequest(field_path(first["loc"]), reason)


def _named(error: ErrorDetails) -> tuple[str, ...]:
    """The field a whole model's validator misses; pydantic's own errors carry it in `loc`."""
    return (error["ctx"]["field"],) if "ctx" in error else ()


def field_path(location: Sequence[str | int]) -> str:
    """A field's full name as clients know it: `SubModelList[1].InferenceParams.LoraWeight`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path
