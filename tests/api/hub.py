"""A small hub on the loopback, speaking what huggingface_hub asks for of the real one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "shop/model"


class Hub(ThreadingHTTPServer):
    """One repository at one commit.

    Attributes:
        files: content by name.
        cut_after: bytes after which a download of weights breaks off, once.
        ranges: Range headers of the downloads.
        lies: names whose stated checksum is wrong.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = dict(files)
        self.cut_after: int | None = None
        self.ranges: list[str | None] = []
        self.lies: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no news."""

    def info(self) -> dict[str, Any]:
        siblings = []
        for name, content in self.files.items():
            sibling: dict[str, Any] = {"rfilename": name, "size": len(content)}
            if name.endswith(".safetensors"):
                digest = hashlib.sha256(content + b"?" * (name in self.lies)).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
            siblings.append(sibling)
        return {"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings, "tags": [],
                "private": False, "downloads": 0, "likes": 0}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        if re.fullmatch(rf"/api/models/{REPO}(/revision/({COMMIT}|main))?", path):
            self._send(json.dumps(self.server.info()).encode(), {}, with_body=with_body)
            return
        found = re.fullmatch(rf"/{REPO}/resolve/{COMMIT}/(.+)", path)
        if found is None or found[1] not in self.server.files:
            error = {"X-Error-Code": "EntryNotFound" if found else "RepoNotFound"}
            self._send(b"", error, status=404, with_body=with_body)
            return
        self._send_file(self.server.files[found[1]], with_body=with_body)

    def _send_file(self, content: bytes, *, with_body: bool) -> None:
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT,
                   "Accept-Ranges": "bytes"}  # fmt: skip
        asked = self.headers.get("Range")
        if with_body:
            self.server.ranges.append(asked)
        status, total = 200, len(content)
        if asked is not None:
            begin = int(asked.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {begin}-{total - 1}/{total}"
            status, content = 206, content[begin:]
        self._send(content, headers, status=status, with_body=with_body)

    def _send(
        self, body: bytes, headers: Mapping[str, str], *, status: int = 200, with_body: bool
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not with_body:
            return
        cut, is_cut = self.server.cut_after, False
        if cut is not None and len(body) > cut:
            self.server.cut_after, is_cut, body = None, True, body[:cut]
        self.wfile.write(body)
        if is_cut:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    thread = Thread(target=hub.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
