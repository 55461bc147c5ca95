"""Pictures that are being painted: the service's previews with the cut-out over them, as HTML."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Mapping

from PIL import Image

from api.protocol import RESIZE_MODES, ResizeModeName
from api.ui.choices import Choices
from backdrop.client import Client, Task
from engine.errors import BadImage
from engine.resize import resize_foreground

PERIOD_S = 1.0  # the service makes them no more often
LONGEST_SIDE_PX = 320
LONGEST_SIDE_OF_MANY_PX = 160
_QUALITY = 80


class Live:
    """The pictures of one run while it goes on.

    Args:
        choices: of the run.
        cut_out: its foreground, RGBA; called once there is a preview, and once only.
    """

    def __init__(self, choices: Choices, cut_out: Callable[[], Image.Image]) -> None:
        self._choices = choices
        self._cut_out = cut_out
        self._placed: Image.Image | None = None
        self._seen: Mapping[int, bytes] = {}
        self._html = ""
        self._due_at = 0.0

    def look(self, client: Client, task: Task) -> str:
        """HTML of how they look now; empty while there is nothing to see.

        Raises:
            ClientError: the service does not answer.
        """
        now = time.monotonic()
        if task.stage not in ("denoising", "finishing") or now < self._due_at:
            return self._html
        self._due_at = now + PERIOD_S
        previews = client.previews(task.uid)
        if previews and previews != self._seen:
            self._seen = previews
            try:
                self._html = self._drawn(previews)
            except BadImage:  # the upload was tidied away; the service has its own
                self._html = ""
        return self._html

    def _drawn(self, previews: Mapping[int, bytes]) -> str:
        if self._placed is None:
            size = _size(self._choices)
            mode = RESIZE_MODES[ResizeModeName(self._choices.resize_mode)]
            self._placed = resize_foreground(self._cut_out(), *size, mode)
        pictures = (
            f'<img alt="Picture {index + 1} so far" src="{_data_url(under(self._placed, png))}">'
            for index, png in previews.items()
        )
        return f'<div class="bd-live">{"".join(pictures)}</div>'


def under(foreground: Image.Image, png: bytes) -> Image.Image:
    """A preview enlarged under `foreground` (RGBA); mode RGB, of the foreground's size."""
    with Image.open(io.BytesIO(png)) as preview:
        enlarged = preview.convert("RGBA").resize(foreground.size, Image.Resampling.BICUBIC)
    return Image.alpha_composite(enlarged, foreground).convert("RGB")


def _size(choices: Choices) -> tuple[int, int]:
    longest = LONGEST_SIDE_PX if choices.batch_size == 1 else LONGEST_SIDE_OF_MANY_PX
    scale = min(1.0, longest / max(choices.width, choices.height))
    return max(1, round(choices.width * scale)), max(1, round(choices.height * scale))


def _data_url(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
