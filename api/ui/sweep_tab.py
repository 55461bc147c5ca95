"""The sweep's tab: axes over the form's job, what they cost, and the contact sheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from api.sweeps.axes import FIELD_AXES, LORA
from api.ui import browser, status
from api.ui.events import on
from api.ui.form import Form, choices_of
from api.ui.painting import KeyPair
from api.ui.sweep import MAX_PICTURES
from api.ui.sweep_handlers import Offer, SweepHandlers, SweepNotTaken, SweepShown
from backdrop.client import ClientError, ModelList

MAX_SWEEPING = 8  # visitors whose sweeps are worked on; each takes one of Gradio's 40 threads
NO_AXIS = "none"
START = "Paint the sweep"

_ABOUT = (
    f"Paints the first tab's job at every combination of the values: up to {MAX_PICTURES} "
    "pictures, one each, as tasks of your own. Values are written `6,10,20` or `6..20:2` "
    "(first..last:step)."
)
_ABOUT_RELOADS = (
    "Keep this tab open while it paints. After a reload nothing is lost: what was sent is "
    "painted by the service, and *Go on* takes the sweep up again."
)
_LABELS = ("Across", "Down", "A sheet for each")
_FIRST = (("Steps", "6,10,20"), ("Seed", "1..3"), (NO_AXIS, ""))
_EXAMPLES: Mapping[str, str] = {
    "Steps": "6,10,20",
    "CFGScale": "2..8:2",
    "Sampler": "Euler,DPM++ 2M Karras",
    "Seed": "1..3",
    "ReferStrength": "0.2..0.8:0.2",
    "ResizeMode": "JustResize,CropAndResize,ResizeAndFill",
    "DeepFusion": "off,on",
}


class SweepTab:
    """The tab's components and events, made inside a `gr.Blocks` and its tab.

    Args:
        handlers: of the tab.
        form: of the first tab.
        keys: components of the public and the private key.
        run_id: hidden component that keeps the sweep's id through a reload.
        tab: the tab itself.
    """

    def __init__(
        self,
        handlers: SweepHandlers,
        form: Form,
        *,
        keys: Sequence[Any],
        run_id: Any,
        tab: Any,
    ) -> None:
        self._handlers = handlers
        self._form = form
        self._keys = list(keys)
        self._run_id = run_id
        self._make_axes()
        self._make_results()
        self._wire_offer(tab)
        self._wire_work()

    def _make_axes(self) -> None:
        gr.Markdown(_ABOUT)
        self._names, self._values = [], []
        with gr.Row(elem_id="axes"):
            for number, (label, (name, values)) in enumerate(zip(_LABELS, _FIRST, strict=True)):
                with gr.Column(min_width=240):
                    names = [*FIELD_AXES] if number == 0 else [NO_AXIS, *FIELD_AXES]
                    self._names.append(
                        gr.Dropdown(names, value=name, label=label, elem_id=f"axis-{number + 1}")
                    )
                    self._values.append(
                        gr.Textbox(values, label="Values", elem_id=f"values-{number + 1}")
                    )

    def _make_results(self) -> None:
        self._told = gr.HTML(elem_id="sweep-told", container=False)
        with gr.Row():
            self._start = gr.Button(
                START, variant="primary", interactive=False, min_width=200, elem_id="sweep-start"
            )
            self._cancel = gr.Button(
                "Cancel", variant="stop", visible=False, min_width=120, elem_id="sweep-cancel"
            )
            self._go_on = gr.Button("Go on", visible=False, min_width=120, elem_id="sweep-go-on")
        self._status = gr.HTML(elem_id="sweep-status", container=False)
        self._sheets = gr.HTML(visible=False, elem_id="sheets", container=False)
        self._files = gr.File(
            label="Downloads",
            file_count="multiple",
            interactive=False,
            visible=False,
            elem_id="sweep-files",
        )
        gr.Markdown(_ABOUT_RELOADS, elem_classes="bd-note")

    # --- what it would be ---

    @property
    def _asked(self) -> list[Any]:
        """Inputs of whatever needs to know the sweep."""
        return [self._form.models, *self._names, *self._values, *self._form.components]

    def _wire_offer(self, tab: Any) -> None:
        shown = [self._told, self._start]
        opened = on(tab.select, self._named, [self._form.models, *self._names], self._names)
        on(opened.then, self._offered, self._asked, shown)
        for name, values in zip(self._names, self._values, strict=True):
            chosen = on(name.input, self._example, [name, self._form.models], values)
            for event in (chosen.then, values.change):
                on(event, self._offered, self._asked, shown, trigger_mode="always_last")

    def _named(self, models: ModelList | None, *names: str) -> list[Any]:
        """The axes there are; LoRAs only the service knows."""
        loras = [f"{LORA}{code}" for code in models.loras] if models is not None else []
        known = [*FIELD_AXES, *loras]
        return [
            gr.update(choices=known if number == 0 else [NO_AXIS, *known], value=name)
            for number, name in enumerate(names)
        ]

    def _example(self, name: str, models: ModelList | None) -> str:
        """Values to begin with: those of another axis mean nothing."""
        if name == NO_AXIS:
            return ""
        if name == "Model":
            return _as_values(models.main if models is not None else ())
        return _EXAMPLES.get(name, "0..1:0.5")

    def _offered(self, *asked: Any) -> list[Any]:
        try:
            offer = self._offer_of(*asked)
        except ValueError as exc:
            refused = status.message(str(exc), kind="error")
            return [refused, gr.update(value=START, interactive=False)]
        return [_told(offer), gr.update(value=offer.label, interactive=True)]

    def _offer_of(self, models: ModelList | None, *values: Any) -> Offer:
        count = len(self._names)
        names, texts, job = values[:count], values[count : 2 * count], values[2 * count :]
        choices = choices_of(job)
        axes = [
            f"{name}={text or ''}"
            for name, text in zip(names, texts, strict=True)
            if name not in (NO_AXIS, None)
        ]
        return self._handlers.offer(choices, axes, models)

    # --- painting ---

    def _wire_work(self) -> None:
        shown = [
            self._status,
            self._run_id,
            self._start,
            self._cancel,
            self._go_on,
            self._sheets,
            self._files,
        ]
        working: dict[str, Any] = {
            "concurrency_limit": MAX_SWEEPING,
            "concurrency_id": "sweeps",
            "trigger_mode": "once",
        }
        begun = on(
            self._start.click,
            self._begin,
            [*self._keys, self._start, *self._asked],
            shown,
            **working,
        )
        on(begun.then, self._offered, self._asked, [self._told, self._start])
        on(self._go_on.click, self._resume, [*self._keys, self._run_id], shown, **working)
        on(self._cancel.click, self._stop, [*self._keys, self._run_id])
        on(self._run_id.change, fn=None, inputs=self._run_id, js=browser.KEEP_SWEEP)
        self._shown = shown

    def wire_return(self, opened: Any) -> None:
        """After `opened`, an event that comes once the keys are there, a known sweep is shown."""
        recalled = on(opened.then, fn=None, outputs=self._run_id, js=browser.RECALL_SWEEP)
        on(recalled.then, self._return, [*self._keys, self._run_id], self._shown)

    def _begin(self, public: str, private: str, label: str, *asked: Any) -> Iterator[list[Any]]:
        """Begins what the button says, and nothing else."""
        keys = KeyPair(public.strip(), private.strip())
        try:
            offer = self._offer_of(*asked)
            if offer.label != label:
                yield self._refused("The choices have changed: press the button again")
                return
            run = self._handlers.begin(keys, offer)
        except (ValueError, SweepNotTaken, ClientError) as exc:
            yield self._refused(str(exc))
        except OSError as exc:
            yield self._refused(f"The page cannot keep its files: {exc.strerror}")
        else:
            yield from map(_as_outputs, self._handlers.paint(keys, run))

    def _resume(self, public: str, private: str, run_id: str) -> Iterator[list[Any]]:
        keys = KeyPair(public.strip(), private.strip())
        try:
            run = self._handlers.known(keys, run_id)
        except ClientError as exc:
            yield self._refused(str(exc))
            return
        if run is None:
            yield self._refused("The page has forgotten this sweep; its tasks have not")
            return
        yield from map(_as_outputs, self._handlers.paint(keys, run))

    def _return(self, public: str, private: str, run_id: str) -> list[Any]:
        if not (public and private and run_id):
            return [gr.skip()] * len(self._shown)
        try:
            shown = self._handlers.again(KeyPair(public.strip(), private.strip()), run_id)
        except ClientError:
            shown = None
        return [gr.skip()] * len(self._shown) if shown is None else _as_outputs(shown)

    def _stop(self, public: str, private: str, run_id: str) -> None:
        self._handlers.cancel(KeyPair(public.strip(), private.strip()), run_id)

    def _refused(self, text: str) -> list[Any]:
        return [status.message(text, kind="error"), *[gr.skip()] * (len(self._shown) - 1)]


def _as_outputs(shown: SweepShown) -> list[Any]:
    files = [str(path) for path in shown.files]
    return [
        shown.status,
        shown.run_id,
        gr.update(interactive=not shown.is_running),
        gr.update(visible=shown.is_running),
        gr.update(visible=shown.can_go_on),
        gr.update(visible=bool(shown.sheets), value=_sheets(shown.sheets)),
        gr.update(visible=bool(files), value=files),
    ]


def _told(offer: Offer) -> str:
    """What the sweep starts from, so that nobody has to go back and look."""
    choices, axes = offer.sweep.choices, {each.axis.name for each in offer.sweep.axes}
    told = {
        "Model": choices.model or "",
        "Steps": choices.steps,
        "Size": f"{choices.width} x {choices.height}",
        "Prompt": ", ".join(choices.options()["prompts"]) or "none",
    }
    job = "; ".join(f"{name} {text}" for name, text in told.items() if text and name not in axes)
    return f'<div class="bd-status stopped">{escape(f"The job: {job}")}</div>'


def _sheets(files: Sequence[Path]) -> str:
    """Each as wide as the page at most; its file opens beside the page in full size."""
    links = (f"gradio_api/file={quote(str(path))}" for path in files)
    return "".join(
        f'<a class="bd-sheet" href="{escape(link)}" target="_blank" rel="noopener">'
        f'<img src="{escape(link)}" alt="Contact sheet"></a>'
        for link in links
    )


def _as_values(names: Sequence[str] | Mapping[str, object]) -> str:
    """Names as an axis takes them: those with a comma in double quotes."""
    file = io.StringIO()
    csv.writer(file, lineterminator="").writerow(names)
    return file.getvalue()
