"""The command `backdrop`, in this process and in one of its own."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from api import cli


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and error of the command in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
    finally:  # the command logs to the standard error of this test alone
        root.handlers[:], root.level = handlers, level
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@contextmanager
def server(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running command and the first line it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "backdrop", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def assert_one_line(err: str, *texts: str) -> None:
    lines = [line for line in err.splitlines() if line.startswith("backdrop: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    for text in texts:
        assert text in lines[0]
