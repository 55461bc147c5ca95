"""The compute child's sending side, with a real pipe and its real thread."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import pytest
from PIL import Image

from api.messages import (
    DENOISING,
    FINISHING,
    ImageBytes,
    PreviewBytes,
    Progress,
    Ready,
    TaskEnded,
    ToSupervisor,
)
from api.outgoing import Outgoing
from engine.errors import NonFiniteResult
from engine.events import ImageDone, ImageFailed, ImagePreview, JobDone, StepDone
from engine.job import GeneratedImage


@dataclass
class Side:
    """One under test, whose thread is not started yet, and the other end of its pipe."""

    outgoing: Outgoing
    pipe: Connection
    failed: SimpleQueue[BaseException]

    def sent(self) -> list[ToSupervisor]:
        """All messages of what was put so far."""
        self.outgoing.ready("end")
        messages: list[ToSupervisor] = []
        while True:
            assert self.pipe.poll(60)
            message = self.pipe.recv()
            if message == Ready("end"):
                return messages
            messages.append(message)


@pytest.fixture
def side() -> Iterator[Side]:
    ours, theirs = Pipe()
    failed: SimpleQueue[BaseException] = SimpleQueue()
    outgoing = Outgoing(theirs, write_parameters=True, failed=failed.put)
    yield Side(outgoing, ours, failed)
    ours.close()
    outgoing.ready("nobody")  # ends the thread
    assert isinstance(failed.get(timeout=60), OSError)


def image_done(uid: str, image_index: int = 0, **parameters: Any) -> ImageDone:
    image = Image.new("RGB", (3, 2), (200, 30, 30))
    result = GeneratedImage(uid, image_index, 7 + image_index, image, parameters=parameters)
    return ImageDone(uid, result)


def test_everything_is_sent_in_the_order_it_was_put(side):
    side.outgoing.ready("cpu")
    side.outgoing.begin("task", 1)
    side.outgoing.report([StepDone("task", 0, 1, 2)])
    side.outgoing.report([StepDone("task", 0, 2, 2)])
    side.outgoing.report([image_done("task", seed=7), JobDone("task")])
    side.outgoing.start()

    ready, begun, stepped, image, ended = side.sent()

    assert ready == Ready("cpu")
    assert [begun, stepped] == [Progress("task", 0.5, DENOISING), Progress("task", 1.0, FINISHING)]
    assert isinstance(image, ImageBytes)
    assert (image.uid, image.image_index, image.seed) == ("task", 0, 7)
    assert (image.width_px, image.height_px) == (3, 2)
    with Image.open(io.BytesIO(image.png)) as opened:
        assert opened.getpixel((1, 1)) == (200, 30, 30)
        assert "Seed: 7" in opened.text["parameters"]
    assert ended == TaskEnded("task")


def test_progress_is_told_now_and_then_but_the_last_step_at_once(side):
    side.outgoing.begin("task", 2)
    for step in range(1, 101):
        side.outgoing.report([StepDone("task", index, step, 100) for index in (0, 1)])
    side.outgoing.start()

    messages = side.sent()

    assert len(messages) < 50
    assert messages[-1] == Progress("task", 1.0, FINISHING)
    assert {message.stage for message in messages[:-1]} == {DENOISING}


def test_an_image_that_is_painted_again_is_being_denoised_again(side):
    side.outgoing.begin("task", 1)
    for step in (1, 2, 1, 2):
        side.outgoing.report([StepDone("task", 0, step, 2)])
    side.outgoing.start()
    assert [each.stage for each in side.sent()] == [DENOISING, FINISHING] * 2


def test_a_preview_is_sent_as_a_small_file(side):
    side.outgoing.begin("task", 2)
    picture = Image.new("RGB", (64, 48), (90, 120, 200))
    side.outgoing.report([ImagePreview("task", 1, picture)])
    side.outgoing.start()

    [sent] = side.sent()

    assert isinstance(sent, PreviewBytes)
    assert (sent.uid, sent.image_index) == ("task", 1)
    assert len(sent.png) < 16_384
    with Image.open(io.BytesIO(sent.png)) as opened:
        assert (opened.format, opened.size, opened.getpixel((9, 9))) == (
            "PNG",
            (64, 48),
            (90, 120, 200),
        )


def test_images_of_a_canceled_task_are_not_sent_any_more(side):
    for uid in ("canceled", "other"):
        side.outgoing.begin(uid, 2)
        side.outgoing.report([image_done(uid)])
    side.outgoing.cancel("canceled")
    side.outgoing.report([image_done("other", 1), JobDone("other")])
    side.outgoing.start()

    first, ended, *others = side.sent()

    assert ended == TaskEnded("canceled", 1206, "canceled")
    assert {message.uid for message in [first, *others]} == {"other"}
    assert len(others) == 2


def test_a_task_may_come_again_after_it_was_canceled(side):
    side.outgoing.begin("task", 1)
    side.outgoing.cancel("task")
    side.outgoing.begin("task", 1)
    side.outgoing.start()
    assert [type(message) for message in side.sent()] == [TaskEnded]
    side.outgoing.report([image_done("task"), JobDone("task")])
    assert [type(message) for message in side.sent()] == [ImageBytes, TaskEnded]


def test_the_end_names_every_image_that_failed(side):
    side.outgoing.begin("task", 3)
    failures = [ImageFailed("task", index, NonFiniteResult("NaN")) for index in (2, 0)]
    side.outgoing.report([*failures, image_done("task", 1), JobDone("task")])
    side.outgoing.start()
    assert side.sent()[-1] == TaskEnded("task", 1205, "image 1 of 3: NaN; image 3 of 3: NaN")
