"""From typed arguments to the fields of a GenerateBackgrounds request."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from PIL.Image import Image

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | Image"
ResizeModeName: TypeAlias = Literal["JustResize", "CropAndResize", "ResizeAndFill"]


class GenerateOptions(TypedDict, total=False):
    """Arguments of `submit` besides the foreground; what is left out is the server's to choose.

    Keys:
        prompts: what to paint, one text or several.
        negative_prompts: what to avoid.
        translate_prompts: have the server translate them to English; on by default.
        resize_mode: how the foreground is brought to the canvas size; default ResizeAndFill.
        reference: a background to follow.
        refer_strength: 0..1, 1 stays as close to the reference as possible; default 0.3.
        reference_resize_mode: as `resize_mode`, for the reference.
        deep_fusion: take palette and texture from the reference; costs more.
        model: ModelCode of the main model.
        steps: 6..100.
        sampler: a name of ListModels, such as "Euler a".
        cfg_scale: guidance, 1..30.
        clip_skip: 1..12.
        sub_models: ModelCodes of LoRAs and embeddings, or ModelCode to weight, -1..2; None is the
            model's own weight.
        use_main_model_vae: use the checkpoint's own VAE.
        seed: -1 draws one; image i has seed + i.
        width: 64..2560 pixels; default the foreground's.
        height: likewise.
        batch_size: 1..16 images.
        preview: have the server show how the images come along, for `previews`.
        webhook_url: told when the task has ended, where the server calls webhooks.
        request_uuid: echoed by the server.
    """

    prompts: str | Sequence[str]
    negative_prompts: str | Sequence[str]
    translate_prompts: bool
    resize_mode: ResizeModeName
    reference: ImageSource
    refer_strength: float
    reference_resize_mode: ResizeModeName
    deep_fusion: bool
    model: str
    steps: int
    sampler: str
    cfg_scale: float
    clip_skip: int
    sub_models: Sequence[str] | Mapping[str, float | None]
    use_main_model_vae: bool
    seed: int
    width: int
    height: int
    batch_size: int
    preview: bool
    webhook_url: str
    request_uuid: str


_PLAIN = {
    "translate_prompts": "TranslatePrompts",
    "use_main_model_vae": "UseMainModelVAE",
    "seed": "Seed",
    "width": "Width",
    "height": "Height",
    "batch_size": "BatchSize",
    "preview": "Preview",
    "webhook_url": "WebhookUrl",
    "request_uuid": "request_uuid",
}
_INFERENCE = {
    "steps": "Steps",
    "sampler": "Sampler",
    "cfg_scale": "CFGScale",
    "clip_skip": "ClipSkip",
}
_REFERENCE = {
    "refer_strength": "ReferStrength",
    "reference_resize_mode": "ResizeMode",
    "deep_fusion": "DeepFusion",
}


def generate_fields(foreground: ImageSource, options: GenerateOptions) -> dict[str, Any]:
    """The request's own fields, without key and signature. Blocking: reads files.

    Raises:
        OSError: a file cannot be read.
        TypeError: an option that does not exist.
        ValueError: options for a reference, but no reference.
    """
    unknown = options.keys() - GenerateOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
    fields: dict[str, Any] = {
        "ImageList": [image_text(foreground)],
        "TransparentForeground": {
            "ImageIndex": 0,
            **_given(options, {"resize_mode": "ResizeMode"}),
        },
        **_given(options, _PLAIN),
    }
    for option, name in (
        ("prompts", "PositivePrompts"),
        ("negative_prompts", "NegativePrompts"),
    ):
        if option in options:
            fields[name] = _texts(options[option])  # type: ignore[literal-required]
    model: dict[str, Any] = {"ModelCode": options["model"]} if "model" in options else {}
    if inference := _given(options, _INFERENCE):
        model["InferenceParams"] = inference
    if model:
        fields["MainModel"] = model
    if "sub_models" in options:
        fields["SubModelList"] = _sub_models(options["sub_models"])
    background = _given(options, _REFERENCE)
    if "reference" in options:
        fields["ImageList"].append(image_text(options["reference"]))
        fields["BackgroundImage2Image"] = {"ImageIndex": 1, **background}
    elif background:
        given = sorted(options.keys() & _REFERENCE.keys())
        raise ValueError(f"{', '.join(given)}: without effect, since no reference is given")
    return fields


def image_text(image: ImageSource) -> str:
    """An image as an entry of ImageList: Base64 of its file.

    Raises:
        OSError: the file cannot be read.
    """
    match image:
        case bytes():
            data = image
        case str() | os.PathLike():
            data = Path(image).read_bytes()
        case _:
            file = io.BytesIO()
            image.save(file, "PNG")
            data = file.getvalue()
    return base64.b64encode(data).decode("ascii")


def _given(options: GenerateOptions, names: Mapping[str, str]) -> dict[str, Any]:
    return {name: options[option] for option, name in names.items() if option in options}  # type: ignore[literal-required]


def _texts(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def _sub_models(sub_models: Sequence[str] | Mapping[str, float | None]) -> list[dict[str, Any]]:
    if isinstance(sub_models, str):
        sub_models = [sub_models]
    weights = sub_models if isinstance(sub_models, Mapping) else dict.fromkeys(sub_models)
    return [
        {"ModelCode": code}
        if weight is None
        else {"ModelCode": code, "InferenceParams": {"LoraWeight": weight}}
        for code, weight in weights.items()
    ]
