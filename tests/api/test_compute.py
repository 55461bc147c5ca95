"""The compute child as its own process, with the real engine and the embedded model."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api.incoming import PARAMETERS_TEXT
from api.messages import (
    FINISHING,
    Add,
    Cancel,
    EngineReport,
    ImageBytes,
    PreviewBytes,
    Progress,
    Ready,
    Start,
    TaskEnded,
    ToChild,
    ToSupervisor,
)
from api.outgoing import PIPELINE_TEXT, WEIGHTS_TEXT, error_text
from engine.errors import (
    BadImage,
    EngineError,
    GpuOutOfMemory,
    IncompatibleAdapter,
    NonFiniteResult,
    PipelineFailed,
    WeightsUnavailable,
)

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A started compute child and this end of its pipe."""

    def __init__(self, *, write_parameters: bool = True) -> None:
        self.reports: list[EngineReport] = []
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                compute(theirs.fileno(), parent_pid=os.getpid()),
                pass_fds=[theirs.fileno()],
                stdout=subprocess.PIPE,
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "2"},
            )
        self.connection: Connection = Connection(ours.detach())
        self.connection.send(
            Start(
                models_file=ROOT / "models.yaml",
                device="cpu",
                batch_invariant=False,
                write_parameters=write_parameters,
                max_image_pixels=10_000,
            )
        )
        assert self.receive() == Ready("cpu")

    def send(self, message: ToChild) -> None:
        self.connection.send(message)

    def receive(self) -> ToSupervisor:
        """The next message about a task."""
        while isinstance(message := self.receive_any(), EngineReport):
            self.reports.append(message)
        return message

    def receive_any(self) -> ToSupervisor:
        assert self.connection.poll(120), "the child is silent"
        message: ToSupervisor = self.connection.recv()
        return message

    def until_silent(self) -> None:
        """Takes its last reports: one that never fell silent could not be taken for hung."""
        while self.connection.poll(2.5):
            message = self.receive_any()
            assert isinstance(message, EngineReport)
            self.reports.append(message)

    def until_end_of(self, uid: str) -> list[ToSupervisor]:
        messages = [self.receive()]
        while not (isinstance(messages[-1], TaskEnded) and messages[-1].uid == uid):
            messages.append(self.receive())
        return messages

    def end(self) -> None:
        self.connection.close()
        assert self.process.wait(30) == 0  # a closed pipe is an order, not an error
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            assert stdout.read() == b""


def compute(descriptor: int, *, parent_pid: int) -> list[str]:
    numbers = ["--fd", str(descriptor), "--parent-pid", str(parent_pid)]
    return [sys.executable, "-m", "api.compute", *numbers]


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.end()


def cut_out(side: int = 64) -> bytes:
    image = Image.new("RGBA", (side, side))
    image.paste((200, 30, 30, 255), (16, 16, 48, 48))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def add(uid: str, *, steps: int = 6, foreground: bytes | None = None, **changes: Any) -> Add:
    params = {
        "MainModel": {"ModelCode": "PICPIK General", "InferenceParams": {"Steps": steps}},
        "PositivePrompts": ["blue sky"],
        "TransparentForeground": {"ImageIndex": 0},
        "Seed": 5,
        "BatchSize": 2,
        "Width": 64,
        "Height": 64,
    }
    return Add(uid, {**params, **changes}, foreground or cut_out(), None)


def test_a_task_gives_its_images_progress_and_one_end(child):
    child.send(add("task"))
    messages = child.until_end_of("task")

    assert messages[-1] == TaskEnded("task")
    images = [message for message in messages if isinstance(message, ImageBytes)]
    assert sorted((each.image_index, each.seed) for each in images) == [(0, 5), (1, 6)]
    for each in images:
        with Image.open(io.BytesIO(each.png)) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 64))
            assert (each.width_px, each.height_px) == image.size
            assert image.getpixel((32, 32)) == (200, 30, 30)
            assert f"Seed: {each.seed}" in image.info["parameters"]
    progress = [message for message in messages if isinstance(message, Progress)]
    assert [each.progress for each in progress] == sorted(each.progress for each in progress)
    assert 0 < progress[0].progress <= 1
    assert progress[-1] == Progress("task", 1.0, FINISHING)


def test_a_task_that_asks_shows_each_image_before_it_is_there(child):
    child.send(add("task", steps=40, Preview=True))
    messages = child.until_end_of("task")

    for index in (0, 1):
        of_image = [
            message
            for message in messages
            if isinstance(message, PreviewBytes | ImageBytes) and message.image_index == index
        ]
        *previews, image = of_image
        assert isinstance(image, ImageBytes)
        assert previews
        for each in previews:
            assert isinstance(each, PreviewBytes)
            with Image.open(io.BytesIO(each.png)) as picture:
                assert (picture.format, picture.mode) == ("PNG", "RGB")
                assert picture.width == picture.height <= 64


def test_what_cannot_be_run_ends_by_itself_alone(child):
    child.send(add("good"))
    child.send(add("garbage", foreground=b"no image"))
    child.send(add("opaque", foreground=_opaque()))
    child.send(add("too-big", foreground=cut_out(101)))
    unknown = {"ModelCode": "Nobody's", "InferenceParams": {}}
    child.send(add("unknown-model", MainModel=unknown))
    child.send(add("other-rules", Width="wide"))

    ends = {m.uid: m for m in child.until_end_of("good") if isinstance(m, TaskEnded)}

    assert {uid: end.error_code for uid, end in ends.items()} == {
        "garbage": 1204,
        "opaque": 1204,
        "too-big": 1204,
        "unknown-model": 1205,
        "other-rules": 1205,
        "good": 0,
    }
    assert all(end.error_text for uid, end in ends.items() if uid != "good")
    assert ends["other-rules"].error_text == PARAMETERS_TEXT


def test_a_canceled_task_ends_at_the_next_step_and_its_neighbour_goes_on(child):
    child.send(add("long", steps=100))
    child.send(add("short"))
    while not isinstance(child.receive(), Progress):
        pass
    child.send(Cancel("long"))
    child.send(Cancel("unknown"))

    messages = child.until_end_of("short")

    ends = [message for message in messages if isinstance(message, TaskEnded)]
    assert [(end.uid, end.error_code) for end in ends] == [("long", 1206), ("short", 0)]
    assert {m.uid for m in messages[messages.index(ends[0]) + 1 :]} == {"short"}


def test_the_child_tells_what_it_counted_and_then_falls_silent(child):
    child.send(add("first"))
    child.until_end_of("first")
    child.until_silent()
    before = child.reports[-1].counts
    child.send(add("task"))
    child.until_end_of("task")
    child.until_silent()
    last = child.reports[-1]
    assert last.counts.steps - before.steps == 12
    assert last.counts.lanes.total - before.lanes.total == 12
    assert last.state.models == ("PICPIK General",)


def test_parameters_are_not_written_where_that_is_switched_off():
    child = Child(write_parameters=False)
    child.send(add("task"))
    images = [m for m in child.until_end_of("task") if isinstance(m, ImageBytes)]
    child.end()

    assert len(images) == 2
    for each in images:
        with Image.open(io.BytesIO(each.png)) as image:
            image.load()
            assert image.text == {}


def test_a_closed_pipe_ends_a_child_in_the_middle_of_its_work():
    child = Child()
    child.send(add("long", steps=100))
    while not isinstance(child.receive(), Progress):
        pass
    child.end()


def test_a_child_whose_supervisor_is_dead_already_dies():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            compute(theirs.fileno(), parent_pid=2**22 + 1),  # above every process id
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
        )
        assert process.wait(30) == -signal.SIGKILL


def test_a_caller_is_not_told_where_the_servers_files_lie(caplog):
    told = [BadImage("opaque", field="foreground"), GpuOutOfMemory("9 GB"), NonFiniteResult("NaN")]
    assert [error_text("u", error) for error in told] == ["opaque", "9 GB", "NaN"]
    assert not caplog.text

    for fault in (WeightsUnavailable, IncompatibleAdapter, EngineError, PipelineFailed):
        text = PIPELINE_TEXT if fault is PipelineFailed else WEIGHTS_TEXT
        assert error_text("u", fault("/srv/models/x is\nmissing")) == text
        assert "task u: /srv/models/x" in caplog.text
        caplog.clear()


def _opaque() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    return file.getvalue()
