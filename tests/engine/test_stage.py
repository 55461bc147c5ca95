"""Work off the step loop comes back in order, errors and all, and wakes whoever waits."""

from __future__ import annotations

import gc
import threading
import time
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


def test_what_is_done_leaves_no_thread_and_keeps_nothing_alive() -> None:
    class Result:
        pass

    changed, threads = threading.Event(), []

    def work() -> Result:
        threads.append(threading.current_thread())
        return Result()

    stage: Stage[str, Result] = Stage("test", changed)
    for key in "ab":  # the second finds the thread of the first at its end
        stage.submit(key, work)
        assert changed.wait(10)
        changed.clear()
        (outcome,) = stage.collect()
        result = weakref.ref(outcome.result())
        del outcome
        threads[-1].join(10)
        assert not threads[-1].is_alive()
        gc.collect()
        assert result() is None
    assert threads[0] is not threads[1]


def test_one_piece_of_work_runs_at_a_time() -> None:
    changed, running, most = threading.Event(), 0, 0

    def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.001)
        running -= 1

    stage: Stage[int, None] = Stage("test", changed)
    submitters = [threading.Thread(target=stage.submit, args=(n, work)) for n in range(40)]
    for each in submitters:
        each.start()
    collected: list[int] = []
    while len(collected) < 40:
        assert changed.wait(10)
        changed.clear()
        collected += [each.key for each in stage.collect()]
    assert sorted(collected) == list(range(40))
    assert most == 1
