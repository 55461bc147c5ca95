"""Clients that submit and poll as real ones do: each its own connection, one look a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from scripts.benchmark.client import Client
from scripts.benchmark.workload import Request

BACK_PRESSURE = 2001
_FINAL = ("Finished", "Error")


@dataclass(slots=True)
class Tally:
    """What all clients saw, in seconds and numbers; safe for threads, since appending is.

    Attributes:
        submit_s: of every submission that was accepted.
        poll_s: of every poll that was answered.
        back_pressure: submissions that were told to come later, and came.
        errors: everything else that was no success, in words.
        finished: tasks that a client saw finished.
    """

    submit_s: list[float] = field(default_factory=list)
    poll_s: list[float] = field(default_factory=list)
    back_pressure: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Work:
    """What the clients do.

    Attributes:
        num_clients: at once, each in a thread.
        num_tasks: in all.
        num_open: tasks a client leaves open before it waits for one.
        poll_every_s: between the polls of one client; one poll asks for all its open tasks.
        deadline_s: after which open tasks are errors.
    """

    num_clients: int = 50
    num_tasks: int = 2000
    num_open: int = 10
    poll_every_s: float = 1.0
    deadline_s: float = 1800.0


def run_clients(
    connect: Callable[[], Client], request: Callable[[int], Request], work: Work
) -> Tally:
    """Runs the clients until every task has ended.

    Args:
        connect: a new connection.
        request: number of the task -> what is asked for.
        work: how much.
    """
    tally, stop_at = Tally(), time.monotonic() + work.deadline_s
    numbers = iter(range(work.num_tasks))
    lock = threading.Lock()

    def next_number() -> int | None:
        with lock:
            return next(numbers, None)

    def one(_index: int) -> None:
        _Visitor(connect, request, work, tally, next_number, stop_at).run()

    with ThreadPoolExecutor(work.num_clients) as pool:
        list(pool.map(one, range(work.num_clients)))
    return tally


@dataclass(slots=True)
class _Visitor:
    """One client: it submits while it may, and polls once a second for what is open."""

    connect: Callable[[], Client]
    request: Callable[[int], Request]
    work: Work
    tally: Tally
    next_number: Callable[[], int | None]
    stop_at: float
    _open: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Whatever goes wrong is an entry in the tally, not an end."""
        client = self.connect()
        try:
            has_more = True
            while has_more or self._open:
                if time.monotonic() > self.stop_at:
                    self.tally.errors.append(f"{len(self._open)} tasks were not finished in time")
                    return
                started = time.monotonic()
                has_more = has_more and self._submit(client)
                self._poll(client)
                time.sleep(max(0.0, self.work.poll_every_s - (time.monotonic() - started)))
        except Exception as exc:
            self.tally.errors.append(f"{type(exc).__name__}: {exc}")
        finally:
            client.close()

    def _submit(self, client: Client) -> bool:
        """Fills up what is open; False once there is no task left."""
        while len(self._open) < self.work.num_open:
            number = self.next_number()
            if number is None:
                return False
            body = client.generate_body(self.request(number))
            while (uid := self._accepted(client, body)) is None:
                time.sleep(self.work.poll_every_s)
                if time.monotonic() > self.stop_at:
                    return False
            if uid:
                self._open.append(uid)
        return True

    def _accepted(self, client: Client, body: bytes) -> str | None:
        """The TaskUID; None where the service is busy, "" where it refuses."""
        started = time.perf_counter()
        answer = client.answer(body)
        took_s = time.perf_counter() - started
        if answer["RetCode"] == BACK_PRESSURE:
            self.tally.back_pressure.append(took_s)
            return None
        if answer["RetCode"] != 0:
            self.tally.errors.append(f"submit: {answer['RetCode']} {answer['Message']}")
            return ""
        self.tally.submit_s.append(took_s)
        return str(answer["TaskUID"])

    def _poll(self, client: Client) -> None:
        if not self._open:
            return
        body = client.poll_body(*self._open)
        started = time.perf_counter()
        answer = client.answer(body)
        self.tally.poll_s.append(time.perf_counter() - started)
        if answer["RetCode"] != 0:
            self.tally.errors.append(f"poll: {answer['RetCode']} {answer['Message']}")
            return
        for detail in answer["TaskDetailList"]:
            if detail["Status"] not in _FINAL:
                continue
            self._open.remove(detail["TaskUID"])
            if detail["Status"] == "Finished":
                self.tally.finished.append(detail["TaskUID"])
            else:
                self.tally.errors.append(f"task: {detail['ErrorMessage']}")
