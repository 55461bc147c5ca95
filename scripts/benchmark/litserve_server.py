"""B2 as a running process, and its clients."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.benchmark.workload import Request

_START_TIMEOUT_S = 120.0


@contextlib.contextmanager
def litserve(model_folder: Path, folder: Path) -> Iterator[int]:
    """LitServe over the model; gives its port once it has answered its health check."""
    port = _free_port()
    command = [sys.executable, "-m", "scripts.benchmark.litserve_app"]
    with (folder / "litserve.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--model", str(model_folder), "--port", str(port)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_until_healthy(process, port, folder / "litserve.log")
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers outlive a signal to it alone
        process.wait()


def litserve_pictures(port: int, requests: Sequence[Request], *, num_clients: int) -> None:
    """Has all pictures painted, each client asking for the next when it has its last."""
    bodies = [_body(request) for request in requests]
    with ThreadPoolExecutor(num_clients) as clients:
        for _ in clients.map(_client, [port] * num_clients, _shares(bodies, num_clients)):
            pass


def _client(port: int, bodies: Sequence[bytes]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_TIMEOUT_S)
    for body in bodies:
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"LitServe: HTTP {response.status}: {text[:200]!r}")
        base64.b64decode(json.loads(text)["image"])
    connection.close()


def _body(request: Request) -> bytes:
    fields = {
        "image": base64.b64encode(request.png).decode("ascii"),
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "side_px": request.side_px,
        "num_steps": request.num_steps,
        "guidance_scale": request.guidance_scale,
        "seed": request.seed,
    }
    return json.dumps(fields).encode()


def _shares(bodies: list[bytes], num_clients: int) -> list[list[bytes]]:
    return [bodies[index::num_clients] for index in range(num_clients)]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if _is_healthy(port):
            return
        time.sleep(0.05)
    raise RuntimeError(f"LitServe did not start: {log.read_text()[-500:]}")


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
