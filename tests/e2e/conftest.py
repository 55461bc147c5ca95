from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import PicpikClient

KEYS = {"alice": "alice-private", "bob": "bob-private"}


class Server:
    """A real `backdrop serve` on a free port, with its data in `folder`."""

    def __init__(
        self, folder: Path, *options: str, command: str = "serve", **environment: str
    ) -> None:
        self.folder = folder
        self.log = folder / "server.log"
        stdout = folder / "stdout"
        with stdout.open("w") as out, self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backdrop", command, "--port", "0", *options],
                stdout=out,
                stderr=log,
                start_new_session=True,
                env=os.environ
                | {
                    "BACKDROP_DATA_DIR": str(folder / "data"),
                    "BACKDROP_KEYS": ",".join(f"{name}:{key}" for name, key in KEYS.items()),
                }
                | environment,
            )
        self.base_url = self._first_line(stdout)

    def _first_line(self, stdout: Path) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            line, newline, _ = stdout.read_text().partition("\n")
            if newline:
                return line
            time.sleep(0.05)
        self.stop()
        raise AssertionError(f"no address on standard output; log:\n{self.log.read_text()}")

    def client(self, name: str) -> PicpikClient:
        return PicpikClient(self.base_url, name, KEYS[name])

    def stop(self) -> int:
        """Asks the server to end, as a supervisor would; its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    instruments = {"BACKDROP_METRICS_PORT": "0", "BACKDROP_LOG_FORMAT": "json"}
    server = Server(tmp_path_factory.mktemp("server"), **instruments)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def alice(server: Server) -> Iterator[PicpikClient]:
    client = server.client("alice")
    with client.http:
        yield client


@pytest.fixture(scope="session")
def bob(server: Server) -> Iterator[PicpikClient]:
    client = server.client("bob")
    with client.http:
        yield client
