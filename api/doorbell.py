"""News from process to process of one machine, so that nobody need poll often.

Every listener has a named pipe in a folder beside the task store, and who has news writes one byte
into each. Nothing depends on it: a byte may be lost, and a listener on another machine hears none.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from api.durable import make_folder
from api.tasks import News

logger = logging.getLogger(__name__)

_END = b"\0"
_MAX_BYTES = 4096  # read at once: many rings are one piece of news


class Doorbell:
    """Rings at all listeners of a folder.

    Args:
        folder: for the pipes; made by the first listener.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ring(self, news: News) -> None:
        """Tell all listeners; never waits and never fails."""
        try:
            names = os.listdir(self._folder)  # noqa: PTH208, many times as fast as `iterdir`
        except OSError:
            return
        for name in names:
            if not name.startswith("."):
                _write(self._folder / name, news)

    def listen(self, heard: Callable[[frozenset[News]], None]) -> Callable[[], None]:
        """Call `heard` on a thread of its own whenever there is news; returns what ends that."""
        name = secrets.token_hex(8)
        pipe, unopened = self._folder / name, self._folder / f".{name}"
        try:
            make_folder(self._folder)
            os.mkfifo(unopened, 0o600)
            # Also for writing, so that it has no end when the last writer closes it.
            descriptor = os.open(unopened, os.O_RDWR)
            unopened.rename(pipe)  # a pipe that nobody reads would be taken for a dead listener's
        except OSError as exc:  # a file system without named pipes
            logger.warning("no news of tasks, polling alone: %s", exc)
            return lambda: None
        thread = threading.Thread(target=_hear, args=(descriptor, heard), name="news", daemon=True)
        thread.start()

        def end() -> None:
            pipe.unlink(missing_ok=True)
            os.write(descriptor, _END)
            thread.join()
            os.close(descriptor)

        return end


def _write(pipe: Path, news: News) -> None:
    try:
        descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno == errno.ENXIO:  # nobody reads it: its listener was killed
            with contextlib.suppress(OSError):
                pipe.unlink()
        return
    with contextlib.suppress(OSError):  # full: there is news enough
        os.write(descriptor, news.encode("ascii"))
    os.close(descriptor)


def _hear(descriptor: int, heard: Callable[[frozenset[News]], None]) -> None:
    while True:
        data = os.read(descriptor, _MAX_BYTES)
        if _END in data:
            return
        heard(frozenset(map(News, data.decode("ascii"))))
