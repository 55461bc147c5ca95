"""What the events of the sweep's tab do. Gradio calls these in threads of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from api.ui import status
from api.ui.choices import Choices
from api.ui.painting import KeyPair, Painter
from api.ui.shelf import Shelf
from api.ui.sweep import Sweep, sweep_of
from api.ui.sweep_painting import SweepPainter
from api.ui.sweep_run import CANCELED, SweepRun, SweepRuns
from backdrop.client import ClientError, ModelList
from engine.errors import BadImage


class SweepNotTaken(Exception):
    """The sweep is not begun; the message says why."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A sweep that can be begun.

    Attributes:
        sweep: what is painted.
        price: about how many credits it costs.
    """

    sweep: Sweep
    price: int

    @property
    def label(self) -> str:
        """Of the button that takes it."""
        count = len(self.sweep.points)
        pictures = "picture" if count == 1 else "pictures"
        return f"Paint {count} {pictures} for about {_credits(self.price)}"


@dataclass(frozen=True, slots=True)
class SweepShown:
    """The tab's lower half at one moment.

    Attributes:
        status: HTML.
        run_id: of the sweep.
        is_running: whether it can be canceled.
        can_go_on: whether something is left that could be painted.
        sheets: contact sheets.
        files: all there is to download.
    """

    status: str
    run_id: str
    is_running: bool = False
    can_go_on: bool = False
    sheets: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()


class SweepHandlers:
    """The tab's events.

    Args:
        painter: speaks to the service.
        shelf: for pictures and reports.
        max_image_pixels: as the service has it.
        points_per_megapixel_step: likewise.
    """

    def __init__(
        self,
        painter: Painter,
        shelf: Shelf,
        *,
        max_image_pixels: int,
        points_per_megapixel_step: float,
    ) -> None:
        self._painter = painter
        self._shelf = shelf
        self._sweeps = SweepPainter(painter, max_image_pixels=max_image_pixels)
        self._base_price = points_per_megapixel_step
        self._runs = SweepRuns()

    def offer(self, choices: Choices, axes: Sequence[str], models: ModelList | None) -> Offer:
        """What these axes over the job would be.

        Raises:
            BadAxis: an axis or a value cannot be used, or there are too many points.
        """
        sweep = sweep_of(choices, axes, models)
        return Offer(sweep, sweep.price(self._base_price))

    def begin(self, keys: KeyPair, offer: Offer) -> SweepRun:
        """Makes room for a sweep; `paint` does the work.

        Raises:
            SweepNotTaken: there is no room, or there are too few credits.
            ClientError: the keys do not fit, or the service does not answer.
            OSError: its folder cannot be made.
        """
        with self._painter.client(keys) as client:
            left = client.balance().left
        if offer.price > left:
            raise SweepNotTaken(f"The sweep costs about {_credits(offer.price)}; {left:,} are left")
        if not self._shelf.has_room():
            raise SweepNotTaken("The page has no room for more pictures, try again later")
        run = SweepRun(keys.public, offer.sweep, self._shelf.new_folder())
        run.folder.claim({"sweep": run.id}, offer.sweep.choices.seed)
        self._runs.add(run)
        return run

    def paint(self, keys: KeyPair, run: SweepRun) -> Iterator[SweepShown]:
        """Work on a sweep and show how it goes; left early, it can be taken up again."""
        started = time.monotonic()
        try:
            for _ in self._sweeps.paint(keys, run):
                yield _underway(run, time.monotonic() - started)
            yield _at_rest(run)
        except (ClientError, BadImage) as exc:
            yield _at_rest(run, fault=str(exc))
        except OSError as exc:
            fault = f"A file of the page is gone or cannot be written: {exc.strerror}"
            yield _at_rest(run, fault=fault)

    def known(self, keys: KeyPair, run_id: str) -> SweepRun | None:
        """The sweep of that id, if this process has it and it is that key pair's.

        Raises:
            ClientError: the keys do not fit, or the service does not answer.
        """
        run = self._runs.get(run_id, keys.public)
        if run is not None:
            with self._painter.client(keys) as client:
                client.balance()  # proves the private key
        return run

    def again(self, keys: KeyPair, run_id: str) -> SweepShown | None:
        """The tab after a reload; None where nothing is known of the sweep.

        Raises:
            ClientError: the keys do not fit, or the service does not answer.
        """
        run = self.known(keys, run_id)
        return None if run is None else _at_rest(run, interrupted=not run.is_reported)

    def cancel(self, keys: KeyPair, run_id: str) -> None:
        """Stop a sweep: the one who paints it cancels its tasks."""
        run = self._runs.get(run_id, keys.public)
        if run is not None:
            run.stop(CANCELED)


def _credits(count: int) -> str:
    return f"{count:,} credit" if count == 1 else f"{count:,} credits"


def _underway(run: SweepRun, elapsed_s: float) -> SweepShown:
    if run.has_ended:
        what = "Writing the reports"
    elif run.stopped_by:
        what = "Stopping"
    else:
        what = "Painting"
    html = status.bar(what, _tally(run), run.progress, elapsed_s)
    return SweepShown(html, run.id, is_running=True)


def _at_rest(run: SweepRun, *, fault: str = "", interrupted: bool = False) -> SweepShown:
    tally = f"{_tally(run)}, {_credits(run.points_charged)}"
    if fault:
        html = status.message(f"{fault} ({tally})", kind="error")
    elif interrupted:
        text = (
            f"Interrupted: {tally}. What the service has of it is painted all the same; "
            "Go on fetches that and paints the rest."
        )
        html = status.message(text, kind="stopped")
    elif run.stopped_by == CANCELED:
        html = status.message(f"Canceled: {tally}", kind="stopped")
    elif run.stopped_by:
        html = status.message(f"{run.stopped_by} ({tally})", kind="error")
    else:
        html = status.message(f"Done: {tally}", kind="" if run.is_whole else "error")
    return SweepShown(
        html,
        run.id,
        can_go_on=not (run.is_whole and run.is_reported),
        sheets=tuple(path for path in run.files if path.suffix == ".png"),
        files=run.files,
    )


def _tally(run: SweepRun) -> str:
    text = f"{len(run.results)} of {run.count} painted"
    if not run.failures:
        return text
    reason = next(iter(run.failures.values()))
    return f"{text}, {len(run.failures)} failed: {reason}"
