"""A compute child without an engine: answers each task as its params' `behave` says.

finish     one tiny PNG per image, `pause_s` before each; where `finish_s` is given, all steps are
           done at first and the images come after that time; where `show` is given, each image
           has a preview first
kill       kills itself in the middle, after its first image
fail       first image only, then error 1205
bad_image  error 1204
hang       nothing at all
stuck      nothing at all, not even when it is canceled
greedy     ends for want of memory, after its pause, where other tasks are here
too_big    ends for want of memory
short      says that it finished, with one image missing

Run as `stand_in_child.py LOG [never_ready] --fd N`; appends "start UID" to the file LOG.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from api.messages import (
    DENOISING,
    FINISHING,
    Add,
    Cancel,
    ImageBytes,
    Loaded,
    PreviewBytes,
    Progress,
    Ready,
    Start,
    TaskEnded,
)


def png(uid: str, index: int) -> bytes:
    """Not an image, but told apart by task, image and process."""
    return f"PNG of {uid} {index} by {os.getpid()}".encode() * 100


def preview(uid: str, index: int) -> bytes:
    """Not an image either."""
    return f"preview of {uid} {index}".encode()


@dataclass
class Job:
    """A task that is being answered."""

    uid: str
    behave: str
    num_images: int
    pause_s: float
    finish_s: float
    show: bool = False
    stage: str = DENOISING
    next_image: int = 0
    next_at: float = 0.0


SILENT = ("hang", "stuck")
NO_JOB = Job("", "", 0, 0.0, 0.0)


class StandIn:
    """The loop of `api.compute_loop` with a stand-in for the engine."""

    def __init__(self, connection: Connection, log: Path) -> None:
        self.connection = connection
        self.log = log
        self.jobs: dict[str, Job] = {}

    def serve(self) -> None:
        start = self.connection.recv()
        assert isinstance(start, Start)
        if "never_ready" in sys.argv:
            sys.exit(3)
        self.connection.send(Ready(start.device))
        while True:
            busy = any(job.behave not in SILENT for job in self.jobs.values())
            while self.connection.poll(0.005 if busy else None):
                self.receive(self.connection.recv())
                busy = bool(self.jobs)
            for job in list(self.jobs.values()):
                if time.monotonic() >= job.next_at and job.behave not in SILENT:
                    self.advance(job)

    def receive(self, message: Add | Cancel) -> None:
        if isinstance(message, Cancel):
            if self.jobs.get(message.uid, NO_JOB).behave == "stuck":
                return
            if self.jobs.pop(message.uid, None):
                self.connection.send(TaskEnded(message.uid, 1206, "canceled"))
            return
        with self.log.open("a") as file:
            file.write(f"start {message.uid}\n")
        params = message.params
        pause_s = params.get("pause_s", 0.0)
        self.jobs[message.uid] = Job(
            message.uid,
            params.get("behave", "finish"),
            params.get("BatchSize", 1),
            pause_s,
            params.get("finish_s", 0.0),
            params.get("show", False),
            next_at=time.monotonic() + pause_s,
        )
        self.connection.send(Loaded(("PICPIK General",)))
        self.show(self.jobs[message.uid])

    def advance(self, job: Job) -> None:
        if job.behave == "too_big" or (job.behave == "greedy" and len(self.jobs) > 1):
            self.end(job, 1205, "the device ran out of memory", out_of_memory=True)
        elif job.behave == "bad_image":
            self.end(job, 1204, "the image cannot be decoded")
        elif job.finish_s:
            job.stage = FINISHING
            self.connection.send(Progress(job.uid, 1.0, job.stage))
            job.next_at = time.monotonic() + job.finish_s
            job.finish_s = 0.0
        elif job.next_image < job.num_images - (job.behave == "short"):
            index = job.next_image
            self.connection.send(Progress(job.uid, index / job.num_images, job.stage))
            data = png(job.uid, index)
            self.connection.send(ImageBytes(job.uid, index, 7 + index, data, 8, 6))
            if job.behave == "kill":
                time.sleep(0.05)  # the image is under way
                os.kill(os.getpid(), signal.SIGKILL)
            job.next_image += 1
            job.next_at = time.monotonic() + job.pause_s
            self.show(job)
            if job.behave == "fail":
                self.end(job, 1205, f"image 2 of {job.num_images}: not finite")
        else:
            self.end(job, 0, "")

    def show(self, job: Job) -> None:
        """A preview of the image that comes next."""
        if job.show and job.next_image < job.num_images:
            look = preview(job.uid, job.next_image)
            self.connection.send(PreviewBytes(job.uid, job.next_image, look))

    def end(
        self, job: Job, error_code: int, error_text: str, *, out_of_memory: bool = False
    ) -> None:
        del self.jobs[job.uid]
        self.connection.send(TaskEnded(job.uid, error_code, error_text, out_of_memory))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor = int(sys.argv[sys.argv.index("--fd") + 1])
    with contextlib.suppress(EOFError, OSError):
        StandIn(Connection(descriptor), Path(sys.argv[1])).serve()
