"""A real S3 server on loopback (SeaweedFS, from its wheel), and a wire to it that can be cut."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api.s3_settings import S3Settings
from api.settings import Settings

BUCKET = "backdrop-test"
ACCESS_KEY_ID, SECRET_ACCESS_KEY = "test-key", "test-secret"
_PORTS = ("s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc")
_IDENTITIES = {
    "identities": [
        {
            "name": "test",
            "credentials": [{"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ]
}


def program() -> str | None:
    """Path of the server's program, where it is installed."""
    return shutil.which("weed", path=sysconfig.get_path("scripts"))


class S3Server:
    """The server as one process; it keeps its ports and its data when it is started again.

    Args:
        folder: of its data, which may be there from before; default one that goes with it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._own = tempfile.TemporaryDirectory(prefix="s3-")  # a short path, for its sockets
        self._folder = folder or Path(self._own.name)
        self._ports = _free_ports(len(_PORTS))
        self.port = self._ports[0]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        folder = self._folder
        (folder / "identities.json").write_text(json.dumps(_IDENTITIES))
        data = folder / "data"
        data.mkdir(exist_ok=True)
        ports = (
            f"-{name.replace('.', '.port.') if '.' in name else f'{name}.port'}={port}"
            for name, port in zip(_PORTS, self._ports, strict=True)
        )
        command = [str(program()), "-logtostderr", "server", "-s3", f"-dir={data}", *ports]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]
        command += [
            "-master.electionTimeout=1s",
            "-master.volumePreallocate=false",
            "-master.volumeSizeLimitMB=64",
        ]
        command += ["-volume.max=20", "-volume.preStopSeconds=0", "-volume.minFreeSpace=0"]
        command += [f"-s3.config={folder / 'identities.json'}", "-s3.port.iceberg=0"]
        command += ["-s3.port.lance=0", f"-s3.localSocket={folder / 's3.sock'}"]
        command += [f"-filer.localSocket={folder / 'filer.sock'}"]
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the S3 server does not start"
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stopped by SIGSTOP: it accepts connections and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self.pid}/task")
        while any(" T " not in (each / "stat").read_text() for each in threads.iterdir()):
            time.sleep(0.001)  # it may answer until then
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        self._own.cleanup()

    def _answers(self) -> bool:
        """Whether it stores an object: it listens long before."""
        from api.blobs import BlobError
        from api.blobs.s3 import open_s3

        with contextlib.suppress(OSError, BlobError):
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=1):
                pass
            open_s3(s3_settings(self.port, "probe", s3_retry_s=0)).put("probe", b"x")
            return True
        return False


def s3_settings(port: int, prefix: str, **changes: Any) -> Settings:
    """Settings for the server, or a wire to it, at that port."""
    values: dict[str, Any] = {
        "s3_url": f"s3://{BUCKET}/{prefix}",
        "s3_endpoint": f"http://127.0.0.1:{port}",
        "s3_allow_http": True,
        "s3_access_key_id": ACCESS_KEY_ID,
        "s3_secret_access_key": SECRET_ACCESS_KEY,
        "s3_timeout_s": 5.0,
        "s3_retry_s": 1.0,
    }
    return Settings(**{**values, **changes})


def s3_fields(port: int, **changes: Any) -> dict[str, Any]:
    """The same as arguments, with a prefix of their own."""
    settings = s3_settings(port, f"fields/{time.time_ns()}", **changes)
    names = [name for name in S3Settings.model_fields if name in settings.model_fields_set]
    return {name: getattr(settings, name) for name in names}


class Wire:
    """A port of its own that leads to the server, in the way a test says."""

    refusal = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def __init__(self, server_port: int) -> None:
        self.refusals = 0
        self.delay_s = 0.0
        self.cut_after_bytes: int | None = None
        self.num_connections = 0
        self._open: set[socket.socket] = set()
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def be(
        self, *, refusals: int = 0, delay_s: float = 0.0, cut_after_bytes: int | None = None
    ) -> None:
        """How it is for connections from now on; those that are open end.

        Args:
            refusals: so many are answered `refusal`; -1 for all.
            delay_s: each waits so long before it is let through.
            cut_after_bytes: each answer is broken off there.
        """
        self.refusals, self.delay_s, self.cut_after_bytes = refusals, delay_s, cut_after_bytes
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        time.sleep(0.05)  # the client notices

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._lead, args=(client,), daemon=True).start()

    def _lead(self, client: socket.socket) -> None:
        self._open.add(client)
        with contextlib.suppress(OSError), client:
            first = client.recv(65536)
            self.num_connections += 1
            time.sleep(self.delay_s)
            if self.refusals:
                self.refusals -= 1
                _drain(client)
                client.sendall(self.refusal)
                return
            with socket.create_connection(("127.0.0.1", self._server_port)) as server:
                server.sendall(first)
                threading.Thread(target=_pump, args=(client, server), daemon=True).start()
                _pump(server, client, limit=self.cut_after_bytes)
                client.shutdown(socket.SHUT_RDWR)  # closing waits for the other pump


def _drain(client: socket.socket) -> None:
    """Read what else is sent at once: an unread rest would make closing a reset."""
    client.settimeout(0.05)
    with contextlib.suppress(OSError):
        while client.recv(65536):
            pass
    client.settimeout(None)


def _pump(source: socket.socket, target: socket.socket, *, limit: int | None = None) -> None:
    with contextlib.suppress(OSError):
        left = limit
        while left != 0 and (data := source.recv(65536)):
            data = data if left is None else data[:left]
            target.sendall(data)
            left = None if left is None else left - len(data)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]
