"""A client that costs next to nothing, so that what is measured is the server.

Bodies are signed and encoded before the clock runs, and go over one kept connection.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from api.signing import sign
from scripts.benchmark.workload import Request

FINAL = ("Finished", "Error")
POLL_S = 0.01
PATIENCE_S = 300.0
_KEPT_S = 2.0  # servers close a connection that lies idle for some seconds
# Until shortly before the end a poll tells nothing and takes from the cores that paint. The end is
# foretold from the request before; where it was slept through, from less than that one took.
_SLEEP_SHARE = 0.85
_OVERSLEPT_SHARE = 0.5


class ServerFault(Exception):
    """The server answered something else than a benchmark can go on with."""


@dataclass(slots=True)
class Client:
    """One key pair at one address; not thread-safe: each thread has its own.

    Attributes:
        base_url: of the server.
        public_key: of the key pair.
        private_key: of the key pair.
    """

    base_url: str
    public_key: str
    private_key: str
    _connection: http.client.HTTPConnection = field(init=False)
    _used_at: float = field(default=0.0, init=False)
    _expected_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._connect()

    def body(self, action: str, **fields: Any) -> bytes:
        """A signed request, ready to be sent any number of times."""
        unsigned = {"Action": action, "PublicKey": self.public_key, **fields}
        return json.dumps({**unsigned, "Signature": sign(unsigned, self.private_key)}).encode()

    def generate_body(self, request: Request) -> bytes:
        """The body that submits `request`."""
        image = base64.b64encode(request.png).decode("ascii")
        return self.body("GenerateBackgrounds", ImageList=[image], **request.fields)

    def poll_body(self, *uids: str) -> bytes:
        """The body that asks for the state of these tasks."""
        return self.body("ListTasksDetails", TaskUIDList=list(uids))

    def post(self, body: bytes) -> dict[str, Any]:
        """The answer to a body.

        Raises:
            ServerFault: HTTP status or RetCode say that it was refused.
        """
        answer = self.answer(body)
        if answer["RetCode"] != 0:
            raise ServerFault(f"RetCode {answer['RetCode']}: {answer.get('Message')}")
        return answer

    def answer(self, body: bytes) -> dict[str, Any]:
        """The answer to a body, a refusal too.

        Raises:
            ServerFault: the HTTP status is not 200.
        """
        answer: dict[str, Any] = json.loads(self._exchange("POST", "/", body))
        return answer

    def submit(self, body: bytes) -> str:
        """Sends a `generate_body`; the TaskUID."""
        uid: str = self.post(body)["TaskUID"]
        return uid

    def wait(self, uid: str, *, poll_s: float = POLL_S) -> dict[str, Any]:
        """Polls until the task is finished; its TaskDetail.

        Raises:
            ServerFault: it ended as an error, or not in time.
        """
        body, deadline = self.poll_body(uid), time.monotonic() + PATIENCE_S
        while (detail := self.post(body)["TaskDetailList"][0])["Status"] not in FINAL:
            if time.monotonic() > deadline:
                raise ServerFault(f"task {uid} is still {detail['Status']}")
            time.sleep(poll_s)
        if detail["Status"] != "Finished":
            raise ServerFault(f"task {uid}: {detail['ErrorMessage']}")
        return detail

    def download(self, url: str) -> bytes:
        """A result."""
        address = urlsplit(url)
        return self._exchange("GET", f"{address.path}?{address.query}")

    def generate(self, body: bytes) -> bytes:
        """Submits, waits, downloads: the PNG. Repeats of one request are hardly polled."""
        started = time.monotonic()
        uid = self.submit(body)
        time.sleep(max(0.0, _SLEEP_SHARE * self._expected_s - (time.monotonic() - started)))
        woke = time.monotonic()
        detail = self.wait(uid)
        ended = time.monotonic()
        overslept = self._expected_s > 0 and ended - woke < POLL_S
        self._expected_s = (ended - started) * (_OVERSLEPT_SHARE if overslept else 1)
        return self.download(detail["ImgList"][0])

    def warm_up(self, body: bytes) -> None:
        """Has a request painted until it takes as long as ever, and learns how long that is."""
        for _ in range(3):
            self.generate(body)

    def generate_all(self, bodies: Sequence[bytes], *, poll_s: float) -> None:
        """Submits all, then polls for all at once and downloads each when it is finished."""
        open_uids = [self.submit(body) for body in bodies]
        deadline = time.monotonic() + PATIENCE_S
        while open_uids:
            if time.monotonic() > deadline:
                raise ServerFault(f"{len(open_uids)} tasks are still not finished")
            for detail in self.post(self.poll_body(*open_uids))["TaskDetailList"]:
                if detail["Status"] == "Error":
                    raise ServerFault(f"task {detail['TaskUID']}: {detail['ErrorMessage']}")
                if detail["Status"] == "Finished":
                    self.download(detail["ImgList"][0])
                    open_uids.remove(detail["TaskUID"])
            if open_uids:
                time.sleep(poll_s)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _exchange(self, method: str, target: str, body: bytes | None = None) -> bytes:
        if time.monotonic() - self._used_at > _KEPT_S:
            self._connection.close()
            self._connect()
        headers = {"Content-Type": "application/json"} if body else {}
        self._connection.request(method, target, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        self._used_at = time.monotonic()
        if response.status != 200:
            raise ServerFault(f"HTTP {response.status}: {content[:200]!r}")
        return content

    def _connect(self) -> None:
        address = urlsplit(self.base_url)
        assert address.hostname is not None
        self._connection = http.client.HTTPConnection(
            address.hostname, address.port, timeout=PATIENCE_S
        )
        self._connection.connect()
        # Head and body leave in two writes: without this the second waits for the first's answer.
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._used_at = time.monotonic()
