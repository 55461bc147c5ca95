"""What the page's events do. Gradio calls these in threads of its own."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PIL import Image

from api.media import decode_foreground
from api.protocol import ResizeModeName
from api.ui import preview, status
from api.ui.choices import Choices
from api.ui.live import Live
from api.ui.painting import KeyPair, Painted, Painter
from api.ui.shelf import Shelf
from backdrop.client import ClientError, ModelList
from engine.errors import BadImage
from engine.plan import default_canvas


@dataclass(frozen=True, slots=True)
class Shown:
    """The page's right half at one moment.

    Attributes:
        status: HTML.
        uid: of the task that runs; empty once it has ended.
        pictures: of the session, newest first.
        live: HTML of those that are being painted.
    """

    status: str
    uid: str
    pictures: list[Painted] = field(default_factory=list)
    live: str = ""


class Handlers:
    """The page's events.

    Args:
        painter: speaks to the service.
        shelf: for what is shown.
        max_image_pixels: as the service has it.
    """

    def __init__(self, painter: Painter, shelf: Shelf, *, max_image_pixels: int) -> None:
        self._painter = painter
        self._shelf = shelf
        self._max_image_pixels = max_image_pixels

    def models(self, keys: KeyPair) -> ModelList:
        """What these keys may name; proves them on the way.

        Raises:
            ClientError: the keys do not fit, or the service does not answer.
        """
        with self._painter.client(keys) as client:
            return client.models()

    def paint(self, keys: KeyPair, choices: Choices, pictures: list[Painted]) -> Iterator[Shown]:
        """Send the request and show how it goes; `pictures` are those of the session so far."""
        started = time.monotonic()
        yield Shown(status.message("Sending"), "", pictures)
        try:
            with self._painter.client(keys) as client:
                run = self._painter.submit(client, keys, choices.with_seed())
                live = Live(run.choices, partial(self.cut_out, run.choices.foreground))
                for task in self._painter.follow(client, run.uid):
                    text = status.of_task(task, time.monotonic() - started)
                    if not task.has_ended:
                        yield Shown(text, run.uid, pictures, live.look(client, task))
                yield Shown(text, "", [*self._painter.fetch(client, run, task), *pictures])
        except ClientError as exc:
            yield Shown(status.message(str(exc), kind="error"), "", pictures)
        except OSError as exc:
            text = f"A file of the page is gone or cannot be written: {exc.strerror}"
            yield Shown(status.message(text, kind="error"), "", pictures)

    def cancel(self, keys: KeyPair, uid: str) -> None:
        """Stop a task.

        Raises:
            ClientError: the service does not answer.
        """
        with self._painter.client(keys) as client:
            client.cancel(uid)

    def cut_out(self, file: str) -> Image.Image:
        """The uploaded foreground; mode RGBA.

        Raises:
            BadImage: what a request with it would be answered.
        """
        try:
            data = Path(file).read_bytes()
        except OSError as exc:
            raise BadImage("the file is gone, upload it again", field="ImageList") from exc
        limit = self._max_image_pixels
        return decode_foreground(data, max_pixels=limit, field="ImageList").image

    def canvas_of(self, file: str) -> tuple[int, int]:
        """Width and height that the service would choose for this cut-out."""
        return default_canvas(*self.cut_out(file).size)

    def placements(self, file: str, width_px: int, height_px: int) -> list[tuple[Image.Image, str]]:
        """Where the cut-out stands in each resize mode, with the modes' names."""
        placed = preview.placements(self.cut_out(file), width_px, height_px)
        return [(image, mode) for mode, image in placed.items()]

    def before_and_after(self, picture: Painted) -> tuple[str, str]:
        """Files of the placed cut-out and of the result, of one size."""
        with Image.open(picture.file) as image:
            size = image.size
        mode = ResizeModeName(picture.run.choices.resize_mode)
        placed = preview.placed(self.cut_out(picture.run.choices.foreground), *size, mode)
        png = io.BytesIO()
        placed.save(png, "PNG")
        return str(self._shelf.put("before.png", png.getvalue())), picture.file
