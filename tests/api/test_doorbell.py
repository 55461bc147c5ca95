from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from api.doorbell import Doorbell
from api.tasks import News

ROOT = Path(__file__).resolve().parents[2]
LISTEN = (
    "import sys, time; from pathlib import Path; from api.doorbell import Doorbell\n"
    "Doorbell(Path(sys.argv[1])).listen(print); print('ready', flush=True); time.sleep(60)"
)


@pytest.fixture
def doorbell(tmp_path):
    return Doorbell(tmp_path / "doorbell")


def test_all_listeners_hear_all_kinds_of_news(doorbell):
    heard = [SimpleQueue(), SimpleQueue()]
    ends = [doorbell.listen(queue.put) for queue in heard]
    for news in News:
        doorbell.ring(news)
        assert [queue.get(timeout=10) for queue in heard] == [{news}, {news}]
    for end in ends:
        end()


def test_a_listener_that_ended_hears_nothing_and_leaves_nothing(doorbell, tmp_path):
    heard = SimpleQueue()
    doorbell.listen(heard.put)()
    doorbell.ring(News.QUEUED)
    with pytest.raises(Empty):
        heard.get(timeout=0.05)
    assert list((tmp_path / "doorbell").iterdir()) == []


def test_ringing_without_a_listener_does_nothing(doorbell):
    doorbell.ring(News.QUEUED)


def test_the_pipe_of_a_killed_listener_is_cleared_away_and_the_others_hear(doorbell, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN, tmp_path / "doorbell"], stdout=subprocess.PIPE, cwd=ROOT
    )
    with process:
        assert process.stdout.readline() == b"ready\n"
        process.kill()
    heard = SimpleQueue()
    end = doorbell.listen(heard.put)
    assert len(list((tmp_path / "doorbell").iterdir())) == 2

    doorbell.ring(News.CANCEL)

    assert heard.get(timeout=10) == {News.CANCEL}
    assert len(list((tmp_path / "doorbell").iterdir())) == 1
    end()


def test_a_listener_that_hangs_holds_nobody_up(doorbell, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN, tmp_path / "doorbell"], stdout=subprocess.PIPE, cwd=ROOT
    )
    with process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        for _ in range(70_000):  # more than a pipe holds
            doorbell.ring(News.QUEUED)
        process.kill()


def test_a_folder_that_cannot_hold_pipes_leaves_it_to_polling(tmp_path, caplog):
    (tmp_path / "doorbell").write_text("a file")
    doorbell = Doorbell(tmp_path / "doorbell")
    end = doorbell.listen(lambda _: None)
    doorbell.ring(News.QUEUED)
    end()
    assert "polling alone" in caplog.text


def test_a_ring_is_heard_at_once(doorbell):
    heard = SimpleQueue()
    end = doorbell.listen(lambda _: heard.put(time.monotonic()))
    delays = []
    for _ in range(20):
        rung_at = time.monotonic()
        doorbell.ring(News.QUEUED)
        delays.append(heard.get(timeout=10) - rung_at)
    end()
    assert min(delays) < 0.005
