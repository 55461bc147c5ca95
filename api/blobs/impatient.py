"""A blob store for who must answer soon."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, TypeVar

from api.blobs.interface import BlobError, BlobUnavailable
from api.blobs.relayed import RelayedBlobs

if TYPE_CHECKING:
    from api.blobs.s3 import S3Blobs

logger = logging.getLogger(__name__)

_AWAY = "the object store does not answer"
_PROBE_KEY = "probe/none"  # no blob has it
_Result = TypeVar("_Result")


class ImpatientBlobs(RelayedBlobs):
    """Waits for an object store as long as it answers at all, and otherwise not.

    A large image may take its time. So a call that has taken `answer_s` has the store asked
    something small. While that is answered within `answer_s`, the call goes on for as long as the
    store's own timeouts let it; else the store is away: all calls that wait are given up, further
    ones are refused at once, and a thread asks on until it is answered. Nobody is held for longer
    than twice `answer_s` by a store that is frozen.

    A `put` that was given up may still store its blob; nobody knows of it by then, and it is swept
    as an orphan.

    Args:
        blobs: the object store.
        answer_s: see above.
    """

    def __init__(self, blobs: S3Blobs, *, answer_s: float) -> None:
        super().__init__(blobs)
        self._s3 = blobs
        self._answer_s = answer_s
        self._away = threading.Event()
        self._answered_at = 0.0
        self._asking = threading.Lock()  # one asks for all who wait

    def signed_urls(self, keys: list[str], *, expires_in_s: int) -> list[str]:
        """See `S3Blobs.signed_urls`: made here, whether the store answers or not."""
        return self._s3.signed_urls(keys, expires_in_s=expires_in_s)

    def _do(self, call: Callable[[], _Result]) -> _Result:
        if self._away.is_set():
            raise BlobUnavailable(_AWAY)
        doing = _begun(call)
        while wait([doing], timeout=self._answer_s).not_done:
            if not self._answers():
                raise BlobUnavailable(_AWAY)
        return doing.result()

    def _answers(self) -> bool:
        came_at = time.monotonic()
        with self._asking:
            if not self._away.is_set() and self._answered_at < came_at:
                if self._ask():
                    self._answered_at = time.monotonic()
                else:
                    self._give_up()
            return not self._away.is_set()

    def _ask(self) -> bool:
        """Whether the store says anything in time; a refusal is an answer."""
        return not wait([_begun(self._probe)], timeout=self._answer_s).not_done

    def _probe(self) -> None:
        with contextlib.suppress(BlobError):
            self._blobs.get(_PROBE_KEY)

    def _give_up(self) -> None:
        logger.warning("%s: what needs it is refused until it does", _AWAY)
        self._away.set()
        threading.Thread(target=self._ask_on, name="blobs away", daemon=True).start()

    def _ask_on(self) -> None:
        while not self._ask():
            pass  # that took its time
        logger.warning("the object store answers again")
        self._away.clear()


def _begun(call: Callable[[], _Result]) -> Future[_Result]:
    """`call` on a thread of its own, which ends when the store's timeouts end it.

    No pool: its few threads would all stand in a store that is frozen, and hold up the process's end.
    """
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as exc:
            future.set_exception(exc)

    threading.Thread(target=run, name="blobs", daemon=True).start()
    return future
