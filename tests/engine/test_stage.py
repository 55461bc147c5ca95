"""Work off the step loop comes back in order, errors and all, and wakes whoever waits."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from engine.stage import Stage


def test_outcomes_come_in_the_order_of_the_work() -> None:
    changed = threading.Event()
    stage: Stage[str, int] = Stage("test", changed)
    stage.submit("a", lambda: 1)
    stage.submit("b", lambda: 2)
    collected = []
    while len(collected) < 2:
        assert changed.wait(10)
        changed.clear()
        collected += [(each.key, each.result()) for each in stage.collect()]
    assert collected == [("a", 1), ("b", 2)]
    assert stage.collect() == []


def test_what_the_work_raised_is_raised_where_its_result_is_asked_for() -> None:
    changed = threading.Event()
    stage: Stage[str, int] = Stage("test", changed)
    stage.submit("a", lambda: 1 // 0)
    assert changed.wait(10)
    (outcome,) = stage.collect()
    with pytest.raises(ZeroDivisionError):
        outcome.result()


def test_a_stage_ends_its_thread_and_keeps_nothing_alive() -> None:
    class Result:
        pass

    changed = threading.Event()
    stage: Stage[str, Result] = Stage("ends with its stage", changed)
    stage.submit("a", Result)
    assert changed.wait(10)
    (outcome,) = stage.collect()
    result = weakref.ref(outcome.result())
    (thread,) = [each for each in threading.enumerate() if each.name == "ends with its stage"]
    del outcome
    gc.collect()
    assert result() is None
    del stage
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
