"""A compute child that paints noise instead of loading torch: it can be killed by the hundred.

The picture follows from seed and cut-out alone, as a real one does, so that a mix-up shows.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import signal
import sys
import time
from dataclasses import dataclass
from io import BytesIO
from multiprocessing.connection import Connection

from PIL import Image

from api.messages import (
    DENOISING,
    Add,
    Cancel,
    ImageBytes,
    Loaded,
    Progress,
    Ready,
    Start,
    TaskEnded,
)
from scripts.chaos_run.orders import NUM_STEPS, SIDE_PX

STEP_S = 0.02
CANCELED = 1206


@dataclass
class _Job:
    task: Add
    step: int = 0


def picture(seed: int, foreground: bytes) -> bytes:
    """A PNG that only this seed and this cut-out give."""
    digest = hashlib.sha256(f"{seed}|".encode() + foreground).digest()
    pixels = random.Random(digest).randbytes(SIDE_PX * SIDE_PX * 3)
    file = BytesIO()
    Image.frombytes("RGB", (SIDE_PX, SIDE_PX), pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def serve(connection: Connection) -> None:
    """Speaks `api.messages` until the pipe is closed."""
    start = connection.recv()
    assert isinstance(start, Start)
    connection.send(Ready(start.device))
    connection.send(Loaded(("PICPIK General",)))
    jobs: dict[str, _Job] = {}
    while True:
        while connection.poll(STEP_S if jobs else None):
            _receive(connection, connection.recv(), jobs)
        for job in list(jobs.values()):
            _step(connection, job, jobs)


def _receive(connection: Connection, message: Add | Cancel, jobs: dict[str, _Job]) -> None:
    if isinstance(message, Add):
        jobs[message.uid] = _Job(message)
    elif jobs.pop(message.uid, None):
        connection.send(TaskEnded(message.uid, CANCELED, "canceled"))


def _step(connection: Connection, job: _Job, jobs: dict[str, _Job]) -> None:
    uid = job.task.uid
    job.step += 1
    connection.send(Progress(uid, job.step / NUM_STEPS, DENOISING))
    if job.step == NUM_STEPS:
        seed = job.task.params["Seed"]
        png = picture(seed, job.task.foreground)
        connection.send(ImageBytes(uid, 0, seed, png, SIDE_PX, SIDE_PX))
        time.sleep(STEP_S)  # a kill may come between the image and the end
        connection.send(TaskEnded(uid))
        del jobs[uid]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        serve(Connection(int(sys.argv[sys.argv.index("--fd") + 1])))
