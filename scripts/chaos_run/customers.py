"""Clients that order, poll and download whatever happens to the service, and note what they saw."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import httpx
from PIL import Image

from api.signing import sign
from scripts.chaos_run.journal import Journal
from scripts.chaos_run.orders import KEYS, order, owner_of, variant_of
from scripts.chaos_run.verdict import UNKNOWN_TASK

BUSY = 2001
POLL_S, PAUSE_S, TIMEOUT_S = 0.25, 0.2, 4.0
WINDOW = 12  # tasks that a customer has open at once
_PROBE_EVERY = 8  # tasks are asked for under a stranger's key
_MISSING_AFTER = 5  # times that an image is not there


class Stopped(Exception):
    """The run ends before an answer came."""


class Book:
    """Which orders are still to be made and which tasks are open, for all customers.

    Args:
        journal: what runs before have done is taken from it.
        limit: so many orders at once are on offer; see `raise_limit`.
    """

    def __init__(self, journal: Journal, *, limit: int) -> None:
        self.stop = threading.Event()
        self.num_accepted = 0
        self._lock = threading.Lock()
        self._limit = limit
        entries = list(journal.entries())
        accepted: dict[int, str] = {
            each["number"]: each["uid"] for each in entries if each["kind"] == "accepted"
        }
        ended = {each["uid"] for each in entries if each["kind"] == "ended"}
        ordered: set[int] = {each["number"] for each in entries if each["kind"] == "order"}
        self.num_accepted = len(accepted)
        self._again = sorted(ordered - accepted.keys())
        self._open = {number: uid for number, uid in accepted.items() if uid not in ended}
        self._next = {owner: self._first_of(owner, ordered) for owner in KEYS}

    def take(self, owner: str) -> int | None:
        """The number of the owner's next order; None for no more."""
        with self._lock:
            for number in self._again:
                if owner_of(number) == owner:
                    self._again.remove(number)
                    return number
            number = self._next[owner]
            if number >= self._limit:
                return None
            self._next[owner] += len(KEYS)
            return number

    def take_open(self, owner: str) -> dict[str, int]:
        """Tasks, with their orders' numbers, that the owner has not seen the end of."""
        with self._lock:
            mine = {uid: number for number, uid in self._open.items() if owner_of(number) == owner}
            for number in mine.values():
                del self._open[number]
            return mine

    def raise_limit(self, limit: int) -> None:
        """So many orders are on offer, counted from the first run's first."""
        with self._lock:
            self._limit = limit

    def count(self) -> None:
        """A task was accepted."""
        with self._lock:
            self.num_accepted += 1

    @staticmethod
    def _first_of(owner: str, ordered: Iterable[int]) -> int:
        mine = [number for number in ordered if owner_of(number) == owner]
        return max(mine) + len(KEYS) if mine else sorted(KEYS).index(owner)


class Customer(threading.Thread):
    """One client with one key.

    Args:
        owner: its public key.
        ports: of the API processes, or of relays to them.
        book: shared by all.
        journal: likewise.
    """

    def __init__(self, owner: str, ports: Sequence[int], book: Book, journal: Journal) -> None:
        super().__init__(name=f"customer {owner}", daemon=True)
        self._owner = owner
        self._ports = deque(ports)
        self._book = book
        self._journal = journal
        self._open = book.take_open(owner)
        self._http = httpx.Client(timeout=TIMEOUT_S, trust_env=False)

    def run(self) -> None:
        """Orders until there is nothing left to order and all has ended."""
        try:
            while self._order_more() or self._open:
                self._look()
                time.sleep(POLL_S)
        except Stopped:
            pass
        finally:
            self._http.close()

    def _order_more(self) -> bool:
        while len(self._open) < WINDOW:
            number = self._book.take(self._owner)
            if number is None:
                return False
            self._order(number)
        return True

    def _order(self, number: int) -> None:
        """Make an order; it is noted before, so that a later run asks again and not anew."""
        variant = variant_of(number)
        self._journal.add("order", number=number)
        answer = self._ask(
            "GenerateBackgrounds", IdempotencyKey=f"order-{number}", **order(variant)
        )
        uid = answer["TaskUID"]
        self._journal.add("accepted", number=number, uid=uid, owner=self._owner, variant=variant)
        self._book.count()
        self._open[uid] = number
        if number % _PROBE_EVERY < len(KEYS):
            self._probe(uid)

    def _probe(self, uid: str) -> None:
        """Nobody else may learn of the task."""
        stranger = next(key for key in KEYS if key != self._owner)
        [detail] = self._ask("ListTasksDetails", key=stranger, TaskUIDList=[uid])["TaskDetailList"]
        if detail["ErrorCode"] != UNKNOWN_TASK or detail["ImgList"]:
            self._journal.add("leak", uid=uid, detail=detail)

    def _look(self) -> None:
        if not self._open:
            return
        answer = self._ask("ListTasksDetails", TaskUIDList=list(self._open))
        for uid, detail in zip(list(self._open), answer["TaskDetailList"], strict=True):
            if detail["Status"] in ("Finished", "Error"):
                images = [self._download(url) for url in detail["ImgList"]]
                self._journal.add(
                    "ended",
                    uid=uid,
                    status=detail["Status"],
                    code=detail["ErrorCode"],
                    text=detail["ErrorMessage"],
                    images=images,
                )
                del self._open[uid]

    def _ask(self, action: str, *, key: str | None = None, **fields: Any) -> dict[str, Any]:
        """The answer to a request that is sent again until there is one."""
        public = key or self._owner
        body = {"Action": action, "PublicKey": public, **fields}
        content = json.dumps({**body, "Signature": sign(body, KEYS[public])})
        while True:
            response = self._send("POST", "/", content)
            answer = response.json() if response.status_code == 200 else None
            if answer is not None and answer["RetCode"] == 0:
                result: dict[str, Any] = answer
                return result
            if answer is None:
                self._odd(f"HTTP {response.status_code} to {action}")
            elif answer["RetCode"] != BUSY:
                self._odd(f"RetCode {answer['RetCode']} to {action}: {answer.get('Message')}")
            time.sleep(PAUSE_S)

    def _download(self, url: str) -> str:
        """Digest of the picture's pixels; "missing" where it is not there."""
        parts = urlsplit(url)
        missing = 0
        while missing < _MISSING_AFTER:
            response = self._send("GET", f"{parts.path}?{parts.query}")
            if response.status_code == 200:
                return pixel_digest(response.content)
            if response.status_code == 404:
                missing += 1
            elif response.status_code != 503:
                self._odd(f"HTTP {response.status_code} to a download")
            time.sleep(PAUSE_S)
        return "missing"

    def _send(self, method: str, target: str, content: str | None = None) -> httpx.Response:
        """An answer, from whichever process gives one."""
        while not self._book.stop.is_set():
            try:
                return self._http.request(
                    method, f"http://127.0.0.1:{self._ports[0]}{target}", content=content
                )
            except httpx.TransportError:
                self._ports.rotate()
                time.sleep(PAUSE_S)
        raise Stopped

    def _odd(self, what: str) -> None:
        self._journal.add("odd", what=what)


def pixel_digest(png: bytes) -> str:
    """SHA-256 of size, mode and pixels; what else the file says of itself is left out."""
    with Image.open(BytesIO(png)) as image:
        head = f"{image.size} {image.mode} ".encode()
        return hashlib.sha256(head + image.tobytes()).hexdigest()
