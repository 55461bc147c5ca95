"""Options of commands that paint in this process: one field each, and the request they make."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from api.cli_options import UsageFault
from api.protocol import SAMPLER_NAMES, ResizeModeName


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What to paint and how; a request's fields but the foreground and the number of images."""

    prompt: Annotated[list[str] | None, typer.Option(help="What to paint; repeatable.")] = None
    negative_prompt: Annotated[list[str] | None, typer.Option(help="What to avoid.")] = None
    reference: Annotated[Path | None, typer.Option(help="A background reference.")] = None
    refer_strength: Annotated[
        float | None, typer.Option(help="0 to 1; 1 stays as close to the reference as possible.")
    ] = None
    deep_fusion: Annotated[
        bool,
        typer.Option("--deep-fusion", help="Take palette and texture from the reference, too."),
    ] = False
    resize_mode: Annotated[
        ResizeModeName, typer.Option(help="How both images are brought to size.")
    ] = ResizeModeName.RESIZE_AND_FILL
    model: Annotated[str | None, typer.Option(help="See `backdrop models list`.")] = None
    sub_model: Annotated[
        list[str] | None,
        typer.Option(help="A LoRA or embedding, NAME or NAME=WEIGHT, -1 to 2; repeatable."),
    ] = None
    steps: Annotated[int | None, typer.Option(help="6 to 100.")] = None
    sampler: Annotated[str | None, typer.Option(help=", ".join(SAMPLER_NAMES.values()))] = None
    cfg_scale: Annotated[float | None, typer.Option(help="1 to 30.")] = None
    clip_skip: Annotated[int | None, typer.Option(help="1 to 12.")] = None
    seed: Annotated[int | None, typer.Option(help="-1 draws one.")] = None
    width: Annotated[int | None, typer.Option(help="64 to 2560 pixels.")] = None
    height: Annotated[int | None, typer.Option(help="64 to 2560 pixels.")] = None

    def fields(self) -> dict[str, Any]:
        """Fields of a GenerateBackgrounds request, without images.

        Raises:
            UsageFault: options do not go together.
        """
        return {
            "MainModel": {
                "ModelCode": self.model,
                "InferenceParams": {
                    "Steps": self.steps,
                    "Sampler": self.sampler,
                    "CFGScale": self.cfg_scale,
                    "ClipSkip": self.clip_skip,
                },
            },
            "SubModelList": [_sub_model(text) for text in self.sub_model or ()],
            "PositivePrompts": self.prompt,
            "NegativePrompts": self.negative_prompt,
            "BackgroundImage2Image": self._background(),
            "TransparentForeground": {"ImageIndex": 0, "ResizeMode": self.resize_mode},
            "Seed": self.seed,
            "Width": self.width,
            "Height": self.height,
        }

    def _background(self) -> dict[str, Any] | None:
        if self.reference is not None:
            return {
                "ImageIndex": 1,
                "ReferStrength": self.refer_strength,
                "ResizeMode": self.resize_mode,
                "DeepFusion": self.deep_fusion,
            }
        for option, is_given in (
            ("--refer-strength", self.refer_strength is not None),
            ("--deep-fusion", self.deep_fusion),
        ):
            if is_given:
                raise UsageFault(f"{option} needs --reference")
        return None


def with_job_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command(job=JobOptions(...), ...)` as a command that has every field of them as an option.

    Typer reads a command's options from its signature, so the fields are written into that.
    """
    hints = get_type_hints(JobOptions, include_extras=True)
    options = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=hints[each.name],
        )
        for each in fields(JobOptions)
    ]
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
        if name != "job"
    ]

    def run(**given: Any) -> None:
        command(job=JobOptions(**{each.name: given.pop(each.name) for each in options}), **given)

    parameters = [*own, *options]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _sub_model(text: str) -> dict[str, object]:
    """NAME or NAME=WEIGHT as an entry of SubModelList; a name may hold equals signs too."""
    name, equals, weight = text.rpartition("=")
    if not equals:
        return {"ModelCode": text}
    try:
        return {"ModelCode": name, "InferenceParams": {"LoraWeight": float(weight)}}
    except ValueError:
        raise UsageFault(f"--sub-model {text}: {weight!r} is not a weight") from None
