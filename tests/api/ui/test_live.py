"""Pictures that are being painted are shown under their cut-out, and asked for now and then."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from api.ui import live as live_module
from api.ui.choices import Choices
from api.ui.live import LONGEST_SIDE_OF_MANY_PX, LONGEST_SIDE_PX, Live, under
from backdrop.client import Task
from engine.errors import BadImage
from tests.api.wire import png

RUNNING = Task("u", "Running", stage="denoising")
BLUE = (40, 90, 210)


def look(color: tuple[int, int, int] = BLUE) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 16), color).save(file, "PNG")
    return file.getvalue()


def cut_out() -> Image.Image:
    """A red square in a transparent field of 72x64."""
    return Image.open(io.BytesIO(png()))


class Service:
    """The one call of a client that is made here."""

    def __init__(self, *answers: dict[int, bytes]) -> None:
        self.answers = list(answers)

    def previews(self, uid: str) -> dict[int, bytes]:
        assert uid == "u"
        return self.answers.pop(0)


def pictures(html: str) -> list[Image.Image]:
    texts = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in texts]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "PERIOD_S", 0.0)


def test_the_cut_out_lies_over_the_preview():
    foreground = Image.new("RGBA", (80, 40))
    foreground.paste((200, 30, 40, 255), (20, 10, 60, 30))
    shown = np.asarray(under(foreground, look()))
    assert shown.shape == (40, 80, 3)
    assert (shown[10:30, 20:60] == (200, 30, 40)).all()
    assert (shown[:10] == BLUE).all()


@pytest.mark.parametrize(
    ("batch_size", "longest"), [(1, LONGEST_SIDE_PX), (2, LONGEST_SIDE_OF_MANY_PX)]
)
def test_every_picture_is_shown_in_the_proportions_of_its_canvas(batch_size: int, longest: int):
    choices = Choices("cup.png", 1024, 512, batch_size=batch_size)
    looks = {index: look() for index in range(batch_size)}
    html = Live(choices, cut_out).look(Service(looks), RUNNING)
    shown = pictures(html)
    assert [each.size for each in shown] == [(longest, longest // 2)] * batch_size
    for each in shown:
        middle = each.getpixel((longest // 2, longest // 4))
        assert middle[0] > 150 > middle[2]  # the red square
        assert each.getpixel((2, 2))[2] > 150


@pytest.mark.usefixtures("at_once")
def test_what_was_seen_stays_until_there_is_something_new():
    service = Service({}, {0: look()}, {0: look()}, {}, {0: look((0, 200, 0))})
    live = Live(Choices("cup.png", 64, 64), cut_out)
    nothing, first, same, gone, new = (live.look(service, RUNNING) for _ in range(5))
    assert nothing == ""
    assert first == same == gone != ""
    assert new != first


def test_the_service_is_asked_once_a_second_and_only_while_it_paints():
    service = Service({0: look()})
    live = Live(Choices("cup.png", 64, 64), cut_out)
    for status, stage in (("Queuing", ""), ("Running", "preparing"), ("Running", "canceling")):
        assert live.look(service, Task("u", status, stage=stage)) == ""
    assert len({live.look(service, RUNNING) for _ in range(5)}) == 1
    assert service.answers == []


def test_an_upload_that_is_gone_costs_the_preview_alone():
    def gone() -> Image.Image:
        raise BadImage("the file is gone", field="ImageList")

    assert Live(Choices("cup.png", 64, 64), gone).look(Service({0: look()}), RUNNING) == ""
