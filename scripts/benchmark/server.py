"""The real server as a process of its own, `backdrop serve`, with nothing replaced."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from pydantic import SecretStr

from api.settings import Settings
from api.store import SqlTaskStore, open_store
from scripts.benchmark.bench import Bench
from scripts.benchmark.client import Client
from scripts.benchmark.shapes import MODELS_FILE
from scripts.benchmark.workload import request_of

PUBLIC_KEY, PRIVATE_KEY = "bench", "bench-private"
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 30.0


class Server:
    """A running server and what a measurement wants to know of it.

    Args:
        folder: empty; data and log go there.
        models_file: models.yaml.
        command: `serve` for API and workers, `api` for the API alone.
        database_url: of the task store; None for the file in the data folder.
        environment: settings, as BACKDROP_... variables.
    """

    def __init__(
        self,
        folder: Path,
        models_file: Path,
        *,
        command: str = "serve",
        database_url: str | None = None,
        **environment: str,
    ) -> None:
        self.settings = Settings(
            data_dir=folder / "data",
            models=models_file,
            database_url=None if database_url is None else SecretStr(database_url),
        )
        if database_url is not None:
            environment = {"BACKDROP_DATABASE_URL": database_url, **environment}
        self._log, first_line = folder / "server.log", folder / "stdout"
        with first_line.open("w") as out, self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "backdrop", command, "--port", "0"],
                stdout=out,
                stderr=log,
                start_new_session=True,
                env={
                    **os.environ,
                    "BACKDROP_DATA_DIR": str(self.settings.data_dir),
                    "BACKDROP_MODELS": str(models_file),
                    "BACKDROP_KEYS": f"{PUBLIC_KEY}:{PRIVATE_KEY}",
                    **environment,
                },
            )
        try:
            self.base_url = self._address(first_line)
        except BaseException:
            self.stop()
            raise

    def client(self) -> Client:
        """A new connection."""
        return Client(self.base_url, PUBLIC_KEY, PRIVATE_KEY)

    def store(self) -> SqlTaskStore:
        """The server's own task store, opened a second time; close it."""
        return open_store(self.settings)

    def processes(self) -> list[psutil.Process]:
        """All of its processes: API, supervisor, compute child, spare."""
        main = psutil.Process(self._process.pid)
        return [main, *main.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU time of all of its processes so far."""
        return sum(_cpu_s(process) for process in self.processes())

    def resident_bytes(self) -> int:
        """Resident memory of all of its processes."""
        return sum(process.memory_info().rss for process in self.processes())

    def stop(self) -> None:
        """Ends it in good order, or else at once."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends all of its processes at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _address(self, first_line: Path) -> str:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            line, newline, _ = first_line.read_text().partition("\n")
            if newline:
                return line
            time.sleep(0.002)
        raise RuntimeError(f"the server did not start: {self._log.read_text()[-500:]}")


@contextlib.contextmanager
def serving(bench: Bench, shape_name: str, **environment: str) -> Iterator[Server]:
    """A server with the model of a shape, warm: it has painted two pictures of 64x64."""
    shape = bench.shape(shape_name).at(64)
    models_file = bench.model_folder(shape_name).parent / MODELS_FILE
    server = Server(bench.scratch("server"), models_file, **environment)
    try:
        client = server.client()
        for index in range(2):
            client.generate(client.generate_body(request_of(shape, index, num_steps=6)))
        client.close()
        yield server
    finally:
        server.stop()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
