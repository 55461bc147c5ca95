"""The page: its two halves, and which event does what."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from api.ui import browser, status
from api.ui.choices import MODES
from api.ui.events import on as _on
from api.ui.form import Form, choices_of, values_of
from api.ui.handlers import Handlers
from api.ui.painting import KeyPair, Painted
from api.ui.results import Results
from api.ui.sweep_handlers import SweepHandlers
from api.ui.sweep_tab import SweepTab
from api.ui.tickets import Tickets
from backdrop.client import ClientError
from engine.errors import BadImage

MAX_PAINTING = 24  # visitors whose tasks are followed; each takes one of Gradio's 40 threads
MAX_PICTURES = 48  # of a session

INTRODUCTION = """<div class="bd-head"><h1>Backdrop</h1>
<p>Paints a background around a product.</p></div>"""
ABOUT_KEYS = (
    "The key pair of the API: `backdrop keys add` makes one. It stays in this browser tab; the "
    "page's server process signs with the private key while it answers and neither stores nor "
    "logs it."
)


class Page:
    """Builds the page as `blocks`."""

    def __init__(self, handlers: Handlers, sweeps: SweepHandlers, tickets: Tickets) -> None:
        self._handlers = handlers
        self._tickets = tickets
        with gr.Blocks(title="Backdrop", analytics_enabled=False) as self.blocks:
            with gr.Row(elem_id="head"):
                gr.HTML(INTRODUCTION, container=False)
                self.leave = gr.Button("Leave", size="sm", visible=False, elem_id="leave")
            with gr.Column(elem_id="door") as self.door:
                self._make_door()
            with gr.Column(visible=False) as self.room, gr.Tabs(elem_id="tabs"):
                with gr.Tab("Picture"), gr.Row(elem_id="room"):
                    with gr.Column(min_width=340, scale=5):
                        self.form = Form()
                    with gr.Column(min_width=340, scale=6, elem_id="results"):
                        self.results = Results()
                with gr.Tab("Sweep") as tab:
                    self.sweep = SweepTab(
                        sweeps,
                        self.form,
                        keys=[self.public, self.private],
                        run_id=self.sweep_id,
                        tab=tab,
                    )
            self._wire_door()
            self._wire_form()
            self._wire_painting()
            self._wire_pictures()
        self.blocks.queue(default_concurrency_limit=8, max_size=1000)

    def _make_door(self) -> None:
        gr.Markdown(ABOUT_KEYS)
        with gr.Row():
            self.public = gr.Textbox(label="PublicKey", elem_id="public-key", min_width=200)
            self.private = gr.Textbox(
                label="PrivateKey", type="password", elem_id="private-key", min_width=200
            )
        self.connect = gr.Button("Connect", variant="primary", elem_id="connect")
        self.door_status = gr.HTML(elem_id="door-status", container=False)
        self.shown_ticket = gr.Textbox(visible="hidden", elem_id="ticket")
        self.sweep_id = gr.Textbox(visible="hidden", elem_id="sweep-id")

    # --- the key pair ---

    def _wire_door(self) -> None:
        keys = [self.public, self.private]
        opened = [
            self.leave,
            self.door,
            self.room,
            self.door_status,
            self.shown_ticket,
            self.form.models,
            self.form.by_name["model"],
            self.form.by_name["steps"],
            self.form.loras,
            self.form.by_name["embeddings"],
        ]
        keep = partial(_on, fn=None, inputs=[*keys, self.shown_ticket], js=browser.KEEP_KEYS)
        recalled = _on(self.blocks.load, fn=None, outputs=keys, js=browser.RECALL_KEYS)
        self.sweep.wire_return(_on(recalled.then, self._recall, keys, opened))
        for event in (self.connect.click, self.private.submit):
            _on(event, self._connect, keys, opened)
        keep(self.shown_ticket.change)
        _on(self.leave.click, fn=None, js=browser.FORGET_KEYS)

    def _recall(self, public: str, private: str) -> list[Any]:
        """A reload of the tab connects again by itself."""
        if not (public and private):
            return [gr.skip()] * 10
        return self._connect(public, private)

    def _connect(self, public: str, private: str) -> list[Any]:
        stay = [gr.update(visible=False), gr.update(visible=True), gr.update(visible=False)]
        try:
            models = self._handlers.models(KeyPair(public.strip(), private.strip()))
        except ClientError as exc:
            text = status.message(str(exc), kind="error")
            return [*stay, text, *[gr.skip()] * 6]
        names = list(models.main)
        first = models.main.get(models.default) or next(iter(models.main.values()), None)
        return [
            gr.update(visible=True),
            gr.update(visible=False),
            gr.update(visible=True),
            "",
            self._tickets.make(),
            models,
            gr.update(choices=names, value=first and first.code),
            gr.update(value=first.parameters.get("Steps", 10)) if first else gr.skip(),
            gr.update(choices=list(models.loras), visible=bool(models.loras)),
            gr.update(choices=list(models.embeddings), visible=bool(models.embeddings)),
        ]

    # --- the form ---

    def _wire_form(self) -> None:
        by_name = self.form.by_name
        size = [by_name["width"], by_name["height"]]
        canvas = [by_name["foreground"], *size, by_name["resize_mode"]]
        _on(by_name["foreground"].upload, self._canvas_of, [canvas[0]], size)
        _on(
            partial(gr.on, [component.change for component in canvas[:3]]),
            self._placements,
            canvas,
            self.form.placements,
            trigger_mode="always_last",  # one listener for all: a slow older answer comes first
        )
        _on(self.form.placements.select, _chosen_mode, None, by_name["resize_mode"])
        _on(by_name["resize_mode"].change, _marked, by_name["resize_mode"], self.form.placements)
        _on(
            by_name["model"].input,
            _steps_of,
            [by_name["model"], self.form.models],
            by_name["steps"],
        )

    def _canvas_of(self, file: str) -> tuple[int, int]:
        try:
            return self._handlers.canvas_of(file)
        except BadImage as exc:
            raise gr.Error(str(exc), print_exception=False) from exc

    def _placements(
        self, file: str | None, width: int | None, height: int | None, mode: str
    ) -> Any:
        if not file or width is None or height is None:
            return gr.update(visible=False, value=None)
        if not (64 <= width <= 2560 and 64 <= height <= 2560):
            return gr.skip()
        try:
            placed = self._handlers.placements(file, int(width), int(height))
        except BadImage:
            return gr.update(visible=False, value=None)
        return gr.update(visible=True, value=placed, selected_index=MODES.index(mode))

    # --- painting ---

    def _wire_painting(self) -> None:
        results, keys = self.results, [self.public, self.private]
        painted = _on(
            results.generate.click,
            self._paint,
            [*keys, results.pictures, *self.form.components],
            [
                results.status,
                results.uid,
                results.pictures,
                results.generate,
                results.cancel,
                results.live,
            ],
            concurrency_limit=MAX_PAINTING,
            trigger_mode="once",
        )
        shown = _on(painted.then, self._newest, [results.pictures, results.selected], [
            results.gallery, *results.of_one_picture,
        ])  # fmt: skip
        _on(results.generate.click, js=browser.SHOW_STATUS)
        _on(shown.then, js=browser.SHOW_PICTURE)
        _on(results.cancel.click, self._cancel, [*keys, results.uid], results.status)

    def _paint(
        self, public: str, private: str, pictures: list[Painted], *values: Any
    ) -> Iterator[list[Any]]:
        try:
            choices = choices_of(values)
        except ValueError as exc:
            text = status.message(str(exc), kind="error")
            yield [text, "", pictures, *[gr.skip()] * 3]
            return
        keys = KeyPair(public.strip(), private.strip())
        live: str | None = None
        for shown in self._handlers.paint(keys, choices, pictures):
            yield [
                shown.status,
                shown.uid,
                shown.pictures[:MAX_PICTURES],
                gr.update(interactive=not shown.uid),
                gr.update(visible=bool(shown.uid)),
                gr.skip() if shown.live == live else shown.live,
            ]
            live = shown.live

    def _cancel(self, public: str, private: str, uid: str) -> Any:
        if not uid:
            return gr.skip()
        try:
            self._handlers.cancel(KeyPair(public.strip(), private.strip()), uid)
        except ClientError as exc:
            return status.message(str(exc), kind="error")
        return gr.skip()

    # --- pictures ---

    def _wire_pictures(self) -> None:
        results, form = self.results, self.form
        _on(results.gallery.select, self._selected, results.pictures, results.of_one_picture)
        _on(
            results.reuse.click,
            self._reuse,
            [results.selected, form.redraw],
            [*form.components, form.loras, form.redraw],
        )
        copied = _on(
            results.copy.click, None, results.request_file, results.copy, js=browser.COPY_FILE
        )
        _on(copied.then, outputs=results.copy, js=browser.COPY_AGAIN)

    def _newest(self, pictures: list[Painted], seen: Painted | None) -> list[Any]:
        """The gallery, and the newest picture if it has not been looked at."""
        if not pictures:
            return [gr.skip()] * (1 + len(self.results.of_one_picture))
        items = [(each.file, f"seed {each.seed}") for each in pictures]
        gallery = gr.update(value=items, visible=True)
        if pictures[0] == seen:
            return [gallery, *[gr.skip()] * len(self.results.of_one_picture)]
        return [gallery, *self._show(pictures[0])]

    def _selected(self, pictures: list[Painted], event: gr.SelectData) -> list[Any]:
        return self._show(pictures[event.index])

    def _show(self, picture: Painted) -> list[Any]:
        run = picture.run
        try:
            compared: Any = self._handlers.before_and_after(picture)
        except (BadImage, OSError) as exc:
            raise gr.Error(f"The picture is gone: {exc}", print_exception=False) from exc
        choices = run.choices
        return [
            gr.update(visible=True),
            compared,
            f"Seed **{picture.seed}**, {choices.steps} steps, {choices.width} x {choices.height}, "
            f"task `{run.uid}`",
            picture.file,
            gr.update(visible=True),
            run.python,
            run.curl,
            run.shown_json,
            run.request_file,
            picture,
        ]

    def _reuse(self, picture: Painted | None, redraw: int) -> list[Any]:
        if picture is None:
            return [gr.skip()] * (len(self.form.components) + 2)
        choices = picture.choices
        return [*values_of(choices), list(choices.lora_weights), redraw + 1]


def _chosen_mode(event: gr.SelectData) -> str:
    return MODES[int(event.index)]


def _marked(mode: str) -> Any:
    return gr.update(selected_index=MODES.index(mode))


def _steps_of(code: str, models: Any) -> Any:
    if models is None or code not in models.main:
        return gr.skip()
    return models.main[code].parameters.get("Steps", gr.skip())


STYLE = Path(__file__).with_name("style.css")
