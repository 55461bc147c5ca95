"""`backdrop top`: the service in the terminal, live or once, for people or scripts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import asdict

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from api.errors import StoreUnavailable, TaskStoreError
from api.instruments.overview import Overview, Overviews
from api.instruments.snapshot import WorkerSnapshot
from api.settings import Settings
from api.store import open_store

PERIOD_S = 1.0
_TEXT_CHARS = 80


def show_top(settings: Settings, *, once: bool, as_json: bool) -> None:
    """Show how the service of a data folder stands, until Control-C.

    Raises:
        TaskStoreError: there is no task store, or it cannot be read.
    """
    file = settings.data_dir / "backdrop.sqlite3"
    if settings.database_url is None and not file.is_file():
        raise TaskStoreError(f"{settings.data_dir}: no server has used this data folder")
    with closing(open_store(settings)) as store:
        overviews = Overviews(settings, store)
        with suppress(KeyboardInterrupt):
            if as_json:
                _print_json(overviews, once=once)
            elif once:
                Console().print(render(overviews.take()))
            else:
                _watch(overviews)


def _print_json(overviews: Overviews, *, once: bool) -> None:
    while True:
        overview = overviews.take()
        line = {**asdict(overview), "steps_per_s": overview.steps_per_s}
        print(json.dumps(line), flush=True)  # noqa: T201
        if once:
            return
        time.sleep(PERIOD_S)


def _watch(overviews: Overviews) -> None:
    with Live(render(overviews.take()), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(PERIOD_S)
            try:
                live.update(render(overviews.take()), refresh=True)
            except StoreUnavailable as exc:
                live.update(f"the task store does not answer: {exc}", refresh=True)


def render(overview: Overview) -> Group:
    """The same as tables."""
    return Group(_queue(overview), _workers(overview), _running(overview), _failures(overview))


def _queue(overview: Overview) -> Table:
    rows = (
        (each.state, each.model, each.key, str(each.tasks), _age(each.oldest_age_s))
        for each in overview.queue
    )
    return _table("Queue", ("state", "model", "key", "tasks", "oldest"), rows)


def _workers(overview: Overview) -> Table:
    rows = (
        (
            each.worker,
            each.device,
            each.status,
            str(each.tasks),
            *_numbers(each.numbers),
            ", ".join(each.models),
        )
        for each in overview.workers
    )
    columns = ("worker", "device", "", "tasks", "steps/s", "memory", "crashes", "models")
    return _table(f"Workers, {overview.steps_per_s:.1f} steps/s", columns, rows)


def _numbers(numbers: WorkerSnapshot | None) -> tuple[str, str, str]:
    if numbers is None:
        return "", "", ""
    memory = f"{numbers.state.memory_used_bytes / 2**30:.1f} GiB"
    return f"{numbers.steps_per_s:.1f}", memory, str(numbers.counts.crashes)


def _running(overview: Overview) -> Table:
    rows = (
        (
            each.uid,
            each.model,
            each.worker,
            str(each.attempt),
            f"{each.progress:.0%} {each.stage}",
            _age(each.age_s),
        )
        for each in overview.running
    )
    return _table("Running", ("task", "model", "worker", "start", "progress", "since"), rows)


def _failures(overview: Overview) -> Table:
    rows = (
        (
            each.uid,
            each.model,
            str(each.error_code),
            each.error_text[:_TEXT_CHARS],
            _age(each.age_s),
        )
        for each in overview.failures
    )
    return _table("Failed last", ("task", "model", "code", "reason", "ago"), rows)


def _table(title: str, columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left", expand=True)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _age(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
