"""Paints a sweep through the API: ordinary signed tasks, many at once, fetched as they end."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api.media import decode_foreground, decode_reference
from api.sweeps.outline import Outline
from api.sweeps.reports import write_reports
from api.sweeps.results import PictureMeasurer
from api.ui.choices import Choices
from api.ui.painting import POLL_S, KeyPair, Painter
from api.ui.sweep import request_of
from api.ui.sweep_run import CANCELED, Arrival, Flight, SweepRun
from backdrop.client import Client, Task
from backdrop.client.errors import (
    Busy,
    ImageGone,
    MissingParameter,
    ModelNotFound,
    NotEnoughCredits,
    ParameterRefused,
)

MAX_IN_FLIGHT = 32  # enough to fill every batch, few enough to lose little when stopped
MAX_SENT_AT_ONCE = 8  # between two looks: what ends meanwhile is timed by them
BUSY_S = 2.0
TASK_CANCELED = 1206


class SweepPainter:
    """Works on sweeps, each call in the visitor's name.

    Args:
        painter: speaks to the service.
        max_image_pixels: as the service has it.
    """

    def __init__(self, painter: Painter, *, max_image_pixels: int) -> None:
        self._painter = painter
        self._max_image_pixels = max_image_pixels

    def paint(self, keys: KeyPair, run: SweepRun) -> Iterator[None]:
        """Goes on with what is not painted, and writes the reports at the end.

        It may be left at any time: what was sent is painted all the same, and the next call
        fetches it.

        Yields:
            After every round; `run` tells how far it is.

        Raises:
            ClientError: the service does not answer.
            OSError: a file of the page is gone or cannot be written.
            BadImage: an uploaded file is no image.
        """
        turn = run.take()
        outline, measurer = self._prepare(run)
        with self._painter.client(keys, max_retries=0) as client:
            while True:
                with run.lock:
                    if not run.is_taken_by(turn):
                        return
                    pause_s = self._work(client, run, measurer)
                    if run.has_ended:
                        break
                yield
                time.sleep(pause_s)
            yield
            with run.lock:
                if run.is_taken_by(turn):
                    _report(run, outline)

    def _prepare(self, run: SweepRun) -> tuple[Outline, PictureMeasurer]:
        choices, max_pixels = run.sweep.choices, self._max_image_pixels
        data = Path(choices.foreground).read_bytes()
        foreground = decode_foreground(data, max_pixels=max_pixels, field="foreground")
        reference = None
        if choices.reference is not None:
            data = Path(choices.reference).read_bytes()
            reference = decode_reference(data, max_pixels=max_pixels, field="reference").image
        outline = run.sweep.outline(foreground.icc_profile)
        measurer = PictureMeasurer(
            outline, run.folder.path, foreground=foreground.image, reference=reference
        )
        return outline, measurer

    def _work(self, client: Client, run: SweepRun, measurer: PictureMeasurer) -> float:
        """One round; how many seconds may pass until the next."""
        pause_s = POLL_S
        try:
            _look(client, run)
            if run.stopped_by == CANCELED and run.flying:
                client.cancel(*run.flying)
            if _send(client, run):
                pause_s = 0.0
        except Busy:
            pause_s = BUSY_S
        if not run.arrived:
            return pause_s
        # One at a time: to measure it takes longer than a look.
        self._keep(client, run, measurer, run.arrived[0])
        run.arrived.popleft()
        return 0.0

    def _keep(
        self, client: Client, run: SweepRun, measurer: PictureMeasurer, arrival: Arrival
    ) -> None:
        index, task = arrival.index, arrival.task
        if task.is_error:
            if task.error_code != TASK_CANCELED or run.stopped_by != CANCELED:
                run.failures[index] = task.error_text
            return
        try:
            (png,) = self._painter.images(client, task)
        except ImageGone:
            run.failures[index] = "its picture has expired"
            return
        painted = run.folder.add(
            index,
            png,
            seed=task.seed,
            seconds=arrival.seconds,
            parameters=_parameters(run.sweep.points[index].choices, task),
        )
        run.results[index] = measurer.measure(painted)
        run.points_charged += task.points


def _look(client: Client, run: SweepRun) -> None:
    """What has become of the tasks."""
    if not run.flying:
        return
    tasks = client.tasks([*run.flying])
    now = time.monotonic()
    for task in tasks:
        flight = run.flying[task.uid]
        flight.progress = task.progress
        if task.status == "Queuing":
            flight.waited_until = now
        if task.has_ended:
            del run.flying[task.uid]
            run.arrived.append(Arrival(flight.index, task, now - flight.waited_until))


def _send(client: Client, run: SweepRun) -> bool:
    """Sends what there is room for; whether anything was sent.

    As long as nothing was accepted, a refusal is taken to be about the whole sweep.
    """
    num_sent = 0
    while run.waiting and not run.stopped_by:
        if len(run.flying) >= MAX_IN_FLIGHT or num_sent >= MAX_SENT_AT_ONCE:
            break
        index = run.waiting[0]
        choices = run.sweep.points[index].choices
        try:
            uid = client.submit(choices.foreground, **choices.options())
        except NotEnoughCredits as exc:
            run.stop(exc.message)
        except (ParameterRefused, MissingParameter, ModelNotFound) as exc:
            if not run.was_accepted:
                run.stop(f"{run.sweep.title(index)}: {exc.message}")
                break
            run.failures[index] = exc.message
            run.waiting.popleft()
        else:
            run.flying[uid] = Flight(index, time.monotonic())
            run.waiting.popleft()
            num_sent += 1
    return num_sent > 0


def _parameters(choices: Choices, task: Task) -> dict[str, Any]:
    """What to paint the picture again with, and its task."""
    return {"TaskUID": task.uid, "ConsumeApiPoint": task.points, "Request": request_of(choices)}


def _report(run: SweepRun, outline: Outline) -> None:
    """Writes the reports of what is painted, and all of it into one file."""
    if run.results:
        run.files = _written(run, outline)
    run.is_reported = True


def _written(run: SweepRun, outline: Outline) -> tuple[Path, ...]:
    results = [run.results[index] for index in sorted(run.results)]
    folder = run.folder.path
    reports = write_reports(outline, folder, results, run.failures, linked=False)
    archive = folder / "sweep.zip"
    names = [path.name for path in reports] + [result.painted.file for result in results]
    with zipfile.ZipFile(archive, "w") as whole:  # PNGs do not get smaller
        for name in names:
            whole.write(folder / name, name)
    return (*reports, archive)
