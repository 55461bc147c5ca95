"""The page's right half: progress, pictures, and how to send the same request again."""

from __future__ import annotations

from typing import Any

import gradio as gr

from api.ui import browser


class Results:
    """The components, made inside a `gr.Blocks`.

    Attributes:
        pictures: `Painted` of the session, newest first.
        selected: the one that is looked at.
        uid: of the task that runs.
    """

    def __init__(self) -> None:
        self.pictures = gr.State([])
        self.selected = gr.State(None)
        self.uid = gr.State("")
        with gr.Row():
            self.generate = gr.Button(
                "Generate", variant="primary", min_width=120, elem_id="generate"
            )
            self.cancel = gr.Button(
                "Cancel", variant="stop", visible=False, min_width=120, elem_id="cancel"
            )
        self.status = gr.HTML(elem_id="status", container=False)
        self.live = gr.HTML(elem_id="live", container=False)
        with gr.Column(visible=False, elem_id="picture") as self.one_picture:
            self.compare = gr.ImageSlider(
                label="Before and after",
                type="filepath",
                image_mode=None,
                interactive=False,
                buttons=["fullscreen"],
                format="png",
                elem_id="compare",
            )
            self.caption = gr.Markdown(elem_id="caption")
            with gr.Row():
                self.download = gr.DownloadButton(
                    "Download PNG", size="sm", min_width=120, elem_id="download"
                )
                self.reuse = gr.Button(
                    "Reuse these settings", size="sm", min_width=120, elem_id="reuse"
                )
        self.gallery = gr.Gallery(
            show_label=False,
            columns=4,
            height="auto",
            object_fit="contain",
            allow_preview=False,
            interactive=False,
            visible=False,
            buttons=[],
            elem_id="gallery",
            elem_classes="bd-gallery",
        )
        with gr.Accordion(
            "The request: JSON, curl, Python", open=False, visible=False, elem_id="request"
        ) as self.request:
            self._texts()

    def _texts(self) -> None:
        with gr.Tab("Python"):
            self.python = gr.Code(language="python", interactive=False, elem_id="python")
        with gr.Tab("curl"):
            self.curl = gr.Code(language="shell", interactive=False, elem_id="curl")
        with gr.Tab("JSON"):
            self.json = gr.Code(language="json", interactive=False, elem_id="json")
        with gr.Row():
            self.request_file = gr.DownloadButton(
                "Download request.json: the exact signed text",
                size="sm",
                min_width=200,
                elem_id="request-file",
            )
            self.copy = gr.Button(browser.COPY, size="sm", min_width=120, elem_id="copy-request")

    @property
    def of_one_picture(self) -> list[Any]:
        """What changes when another picture is looked at."""
        return [
            self.one_picture,
            self.compare,
            self.caption,
            self.download,
            self.request,
            self.python,
            self.curl,
            self.json,
            self.request_file,
            self.selected,
        ]
