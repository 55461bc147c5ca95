"""The page's left half: everything a visitor chooses, as one component per field of `Choices`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import gradio as gr

from api.protocol import SAMPLERS
from api.ui.choices import DEFAULT_MODE, MODES, RANDOM_SEED, Choices
from backdrop.client import ModelList

OWN = "model's own"
MAX_LORAS = 16
_WHOLE_NUMBERS = ("width", "height", "seed", "steps", "batch_size", "clip_skip")
NAMES = tuple(each.name for each in fields(Choices))


class Form:
    """The components, made inside a `gr.Blocks`.

    Attributes:
        by_name: component of each field of `Choices`.
        placements: the cut-out on the canvas in each resize mode.
        models: what ListModels told.
        redraw: counts up when the weight sliders are to be drawn anew.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, Any] = {}
        self.models = gr.State(None)
        self.redraw = gr.State(0)
        self._images()
        self._prompts()
        self._size()
        self._reference()
        self._models()

    @property
    def components(self) -> list[Any]:
        """In the order of `NAMES`."""
        return [self.by_name[name] for name in NAMES]

    def _images(self) -> None:
        self.by_name["foreground"] = _picture("Cut-out (PNG with alpha)", "cut-out")
        self.by_name["resize_mode"] = gr.Radio(
            list(MODES),
            value=DEFAULT_MODE,
            label="Resize mode: how it stands on the canvas",
            elem_id="resize-mode",
        )
        self.placements = gr.Gallery(
            show_label=False,
            columns=3,
            height="auto",
            object_fit="contain",
            allow_preview=False,
            interactive=False,
            visible=False,
            buttons=[],
            format="png",
            elem_id="placements",
            elem_classes="bd-gallery",
        )

    def _prompts(self) -> None:
        self.by_name["prompts"] = gr.Textbox(
            label="Paint", placeholder="blue sky\nwhite cloud", lines=2, elem_id="prompts"
        )
        self.by_name["negative_prompts"] = gr.Textbox(
            label="Avoid", lines=1, elem_id="negative-prompts"
        )

    def _size(self) -> None:
        with gr.Row():
            for name, label in (("width", "Width"), ("height", "Height")):
                self.by_name[name] = gr.Number(
                    512, label=label, precision=0, minimum=64, maximum=2560, min_width=90,
                    elem_id=name,
                )  # fmt: skip
            self.by_name["seed"] = gr.Number(
                RANDOM_SEED, label="Seed, -1: any", precision=0, minimum=-1,
                maximum=2**31 - 1, min_width=120, elem_id="seed",
            )  # fmt: skip
        with gr.Row():
            self.by_name["steps"] = gr.Slider(
                6, 100, 10, step=1, label="Steps", min_width=150, elem_id="steps"
            )
            self.by_name["batch_size"] = gr.Slider(
                1, 16, 1, step=1, label="Images", min_width=150, elem_id="batch-size"
            )

    def _reference(self) -> None:
        with gr.Accordion("Background reference", open=False, elem_id="reference-part"):
            self.by_name["reference"] = _picture("Background to follow", "reference")
            self.by_name["refer_strength"] = gr.Slider(
                0, 1, 0.3, step=0.01, label="Strength: 0 ignores it, 1 keeps it"
            )
            self.by_name["deep_fusion"] = gr.Checkbox(
                label="DeepFusion: palette and texture too, costs more"
            )
            self.by_name["reference_resize_mode"] = gr.Radio(
                list(MODES), value=DEFAULT_MODE, label="Resize mode of the reference"
            )

    def _models(self) -> None:
        with gr.Accordion("Model and LoRAs", open=False, elem_id="model-part"):
            self.by_name["model"] = gr.Dropdown(label="Model", elem_id="model")
            self.loras = gr.Dropdown(
                label="LoRAs", multiselect=True, max_choices=MAX_LORAS, elem_id="loras"
            )
            self.by_name["lora_weights"] = gr.State({})
            self._weight_sliders()
            self.by_name["embeddings"] = gr.Dropdown(label="Embeddings", multiselect=True)
            self.by_name["sampler"] = gr.Dropdown([OWN, *SAMPLERS], value=OWN, label="Sampler")
            with gr.Row():
                # A number field cannot stay empty: Gradio makes 0 of nothing as it is unfolded.
                self.by_name["cfg_scale"] = gr.Number(
                    0, label="Guidance (0: model's own)", minimum=0, maximum=30,
                    min_width=150,
                )  # fmt: skip
                self.by_name["clip_skip"] = gr.Slider(
                    1, 12, 1, step=1, label="ClipSkip", min_width=150
                )

    def _weight_sliders(self) -> None:
        weights = self.by_name["lora_weights"]

        @gr.render(  # type: ignore[untyped-decorator]
            inputs=[self.loras, weights, self.models],
            triggers=[self.loras.change, self.redraw.change],
            show_progress="hidden",
        )
        def sliders(codes: list[str], weighed: Mapping[str, float], models: ModelList) -> None:
            for code in codes or ():
                slider = gr.Slider(
                    -1, 2, weighed.get(code, default_weight(models, code)), step=0.01,
                    label=f"Weight of {code}", interactive=True, elem_classes="lora-weight",
                )  # fmt: skip
                slider.change(
                    partial(with_weight, code),
                    [weights, slider],
                    weights,
                    show_progress="hidden",
                    api_visibility="private",
                )

        self.loras.change(
            chosen_weights,
            [self.loras, weights, self.models],
            weights,
            show_progress="hidden",
            api_visibility="private",
        )


def default_weight(models: ModelList | None, code: str) -> float:
    """The weight that a LoRA has where a request gives none."""
    if models is None or code not in models.loras:
        return 1.0
    return float(models.loras[code].parameters.get("LoraWeight", 1.0))


def chosen_weights(
    codes: Sequence[str] | None, weighed: Mapping[str, float], models: ModelList | None
) -> dict[str, float]:
    """Weights of exactly the chosen LoRAs: as set before, else their own."""
    return {code: weighed.get(code, default_weight(models, code)) for code in codes or ()}


def with_weight(code: str, weighed: Mapping[str, float], weight: float) -> dict[str, float]:
    """The weights after one slider moved."""
    return {**weighed, code: weight}


def choices_of(values: Sequence[Any]) -> Choices:
    """The components' values as `Choices`.

    Raises:
        ValueError: something that must be given is not.
    """
    given = dict(zip(NAMES, values, strict=True))
    if not given["foreground"]:
        raise ValueError("Upload a cut-out first: a PNG with a transparent background.")
    for name in _WHOLE_NUMBERS:
        if given[name] is None:
            raise ValueError(f"{name.replace('_', ' ').capitalize()} is empty.")
        given[name] = int(given[name])
    given["sampler"] = None if given["sampler"] in (OWN, None) else given["sampler"]
    given["cfg_scale"] = given["cfg_scale"] or None
    given["embeddings"] = tuple(given["embeddings"] or ())
    return Choices(**given)


def values_of(choices: Choices) -> Iterator[Any]:
    """The components' values that make these choices."""
    for name in NAMES:
        value = getattr(choices, name)
        match name:
            case "sampler":
                yield value or OWN
            case "cfg_scale":
                yield value or 0
            case "embeddings":
                yield list(value)
            case _:
                yield value


def _picture(label: str, elem_id: str) -> Any:
    """An upload that keeps the file as it is: what is signed is what was uploaded."""
    return gr.Image(
        label=label,
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        buttons=["fullscreen"],
        height=240,
        elem_id=elem_id,
        elem_classes="checkerboard",
    )
