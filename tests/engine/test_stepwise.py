"""A callback turned into steps: strict alternation, clean ends."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest

from engine.stepwise import Stepwise, Stopped

Report = Callable[[int], None]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "stepwise"]


class Counts:
    """Work that counts to three, and remembers what it did."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __call__(self, report: Report) -> None:
        try:
            for number in (1, 2, 3):
                self.done.append(f"made {number}")
                report(number)
        except BaseException as exc:
            self.done.append(type(exc).__name__)
            raise
        finally:
            self.done.append("cleaned up")


def test_the_work_goes_no_further_than_it_is_asked_to() -> None:
    work = Counts()
    steps = Stepwise(work)
    assert work.done == []
    assert steps.next() == 1
    assert work.done == ["made 1"]
    assert [steps.next(), steps.next(), steps.next()] == [2, 3, None]
    assert work.done == ["made 1", "made 2", "made 3", "cleaned up"]
    assert steps.next() is None
    assert threads() == []


def test_close_ends_the_work_where_it_stands_and_lets_it_clean_up() -> None:
    work = Counts()
    steps = Stepwise(work)
    steps.next()
    steps.close()
    assert work.done == ["made 1", "Stopped", "cleaned up"]
    assert steps.next() is None
    steps.close()
    assert threads() == []


def test_work_that_was_never_asked_for_is_never_begun() -> None:
    work = Counts()
    Stepwise(work).close()
    assert work.done == []
    assert threads() == []


def test_an_exception_comes_out_where_the_owner_waits() -> None:
    def work(report: Report) -> None:
        report(1)
        raise ValueError("no two")

    steps = Stepwise(work)
    assert steps.next() == 1
    with pytest.raises(ValueError, match="no two"):
        steps.next()
    assert steps.next() is None
    assert threads() == []


def test_work_that_catches_every_exception_is_ended_all_the_same() -> None:
    caught = []

    def work(report: Report) -> None:
        for number in range(100):
            try:
                report(number)
            except Exception as exc:
                caught.append(exc)

    steps = Stepwise(work)
    steps.next()
    steps.close()
    assert caught == []
    assert not issubclass(Stopped, Exception)


def test_a_report_while_cleaning_up_is_not_waited_for() -> None:
    def work(report: Report) -> None:
        try:
            report(1)
        finally:
            report(2)

    steps = Stepwise(work)
    steps.next()
    steps.close()
    assert threads() == []


def test_a_failing_clean_up_is_told_to_whoever_closes() -> None:
    def work(report: Report) -> None:
        try:
            report(1)
        finally:
            raise ValueError("stuck")

    steps = Stepwise(work)
    steps.next()
    with pytest.raises(ValueError, match="stuck"):
        steps.close()
    assert threads() == []


def test_forgetting_it_ends_the_work() -> None:
    work = Counts()
    steps = Stepwise(work)
    steps.next()
    assert len(threads()) == 1
    del steps
    gc.collect()
    assert work.done[-1] == "cleaned up"
    assert threads() == []
