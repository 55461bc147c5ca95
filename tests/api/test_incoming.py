"""The compute child's receiving side, with a real pipe and its real threads."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue

import pytest
from PIL import Image

from api.incoming import Incoming
from api.messages import Add, Cancel, Start, TaskEnded
from engine.job import GenerationJob
from tests.api.test_compute import ROOT, add, cut_out

SLOW_SIDE_PX = 3000


@dataclass
class Side:
    """One under test, and what it does to the others."""

    incoming: Incoming
    pipe: Connection
    ended: SimpleQueue[TaskEnded]
    woken: SimpleQueue[None]

    def take(self) -> list[GenerationJob | Cancel]:
        """What there is after a wake."""
        self.woken.get(timeout=60)
        return self.incoming.take()


@pytest.fixture
def side() -> Iterator[Side]:
    ours, theirs = Pipe()
    ended: SimpleQueue[TaskEnded] = SimpleQueue()
    woken: SimpleQueue[None] = SimpleQueue()
    incoming = Incoming(
        theirs,
        max_image_pixels=SLOW_SIDE_PX**2,
        ended=ended.put,
        wake=lambda: woken.put(None),
    )
    incoming.start()
    yield Side(incoming, ours, ended, woken)
    ours.close()
    with pytest.raises(EOFError):
        _take_all(incoming, woken)


def _take_all(incoming: Incoming, woken: SimpleQueue[None]) -> None:
    """A wake may stand for what an earlier take has already brought."""
    while True:
        woken.get(timeout=60)
        incoming.take()


def slow(uid: str) -> Add:
    """A task whose image takes a good while to decode."""
    image = Image.effect_noise((SLOW_SIDE_PX, SLOW_SIDE_PX), 100).convert("RGBA")
    image.putpixel((0, 0), (0, 0, 0, 0))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return add(uid, foreground=file.getvalue())


def test_tasks_come_decoded_and_in_order(side):
    for uid in ("first", "second"):
        side.pipe.send(add(uid))
    jobs = side.take()
    while len(jobs) < 2:
        jobs += side.take()
    assert [job.job_id for job in jobs] == ["first", "second"]
    assert all(job.foreground.size == (64, 64) for job in jobs)


def test_a_task_that_cannot_be_decoded_ends_and_those_behind_it_come(side):
    side.pipe.send(add("bad", foreground=cut_out()[:100]))
    side.pipe.send(add("good"))
    assert [job.job_id for job in side.take()] == ["good"]
    ended = side.ended.get(timeout=60)
    assert (ended.uid, ended.error_code) == ("bad", 1204)


def test_a_cancel_overtakes_the_decoding_of_other_tasks_and_of_its_own(side):
    side.pipe.send(slow("slow"))
    side.pipe.send(add("waits"))
    side.pipe.send(Cancel("waits"))
    side.pipe.send(add("after"))

    assert side.ended.get(timeout=60) == TaskEnded("waits", 1206, "canceled")
    assert side.incoming.take() == []  # the slow one is being decoded still
    side.pipe.send(Cancel("slow"))
    assert side.ended.get(timeout=60) == TaskEnded("slow", 1206, "canceled")
    assert [job.job_id for job in side.take()] == ["after"]


def test_a_cancel_of_what_was_taken_is_passed_on(side):
    side.pipe.send(add("task"))
    assert [job.job_id for job in side.take()] == ["task"]
    side.pipe.send(Cancel("task"))
    assert side.take() == [Cancel("task")]
    assert side.ended.empty()


def test_what_a_thread_did_not_expect_reaches_the_loop():
    ours, theirs = Pipe()
    woken: SimpleQueue[None] = SimpleQueue()
    incoming = Incoming(
        theirs, max_image_pixels=100, ended=lambda _: None, wake=lambda: woken.put(None)
    )
    incoming.start()
    ours.send(
        Start(
            models_file=ROOT / "models.yaml",
            device="cpu",
            batch_invariant=False,
            write_parameters=True,
            max_image_pixels=100,
        )
    )
    woken.get(timeout=60)
    with pytest.raises(AssertionError, match="started once"):
        incoming.take()
    ours.close()
