"""Supervisors with real child processes, which run `stand_in_child.py` instead of an engine."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from api.blobs import input_key, open_blobs
from api.settings import Settings
from api.store import open_store
from api.supervisor import Supervisor
from api.tasks import TaskRecord, TaskStatus
from tests.api.store_contract.stored import new_task

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).parent / "stand_in_child.py"


class Service:
    """A store, a blob folder, and as many supervisors over them as a test starts."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.settings = Settings(
            **{
                "data_dir": folder / "data",
                "models": ROOT / "models.yaml",
                "warm_spare": False,
                "lease_s": 5.0,
                **changes,
            }
        )
        self.log = folder / "starts.log"
        self.store = open_store(self.settings)
        self.blobs = open_blobs(self.settings)

    def put(self, behave: str = "finish", *, num_images: int = 1, **params: Any) -> str:
        task = new_task(
            num_images=num_images,
            params={"behave": behave, "BatchSize": num_images, **params},
        )
        key = input_key(task.uid, "foreground")
        self.blobs.put(key, b"foreground")
        self.store.put(dataclasses.replace(task, inputs={"foreground": key}))
        return task.uid

    def starts(self, uid: str) -> int:
        return self.log.read_text().split().count(uid) if self.log.exists() else 0

    def record(self, uid: str) -> TaskRecord:
        record = self.store.get(uid)
        assert record is not None
        return record

    def wait(self, uid: str, *statuses: TaskStatus, timeout_s: float = 20.0) -> TaskRecord:
        """The record once the task has one of `statuses`; by default once it ended."""
        wanted = statuses or tuple(status for status in TaskStatus if status.is_final)
        self.until(lambda: self.record(uid).status in wanted, timeout_s=timeout_s)
        return self.record(uid)

    def until(self, condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "timed out"
            time.sleep(0.01)

    def blob_files(self) -> list[str]:
        """Keys of all blobs; os.walk, unlike glob, bears folders that vanish meanwhile."""
        root = self.settings.data_dir / "blobs"
        walked = ((Path(folder), names) for folder, _, names in os.walk(root))
        return sorted(str((f / name).relative_to(root)) for f, names in walked for name in names)

    def output_files(self) -> list[str]:
        return [key for key in self.blob_files() if key.startswith("out/")]

    @property
    def child_command(self) -> list[str]:
        return [sys.executable, str(STAND_IN), str(self.log)]

    @contextlib.contextmanager
    def supervisor(self, **changes: Any) -> Iterator[Supervisor]:
        """One in a thread of this process."""
        arguments = {"store": self.store, "blobs": self.blobs, "settings": self.settings, **changes}
        arguments.setdefault("child_command", self.child_command)
        supervisor = Supervisor(device="cpu", **arguments)
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        try:
            yield supervisor
        finally:
            supervisor.stop()
            thread.join(20)
            assert not thread.is_alive()

    @contextlib.contextmanager
    def supervisor_process(self) -> Iterator[subprocess.Popen[bytes]]:
        """One in a process of its own, with the product's own signal handling."""
        program = (
            "import sys; from api import supervisor; from api.settings import Settings\n"
            "supervisor.Supervisor.__init__.__kwdefaults__['child_command'] = sys.argv[1:]\n"
            "supervisor.run_supervisor("
            "Settings.model_validate_json(sys.stdin.buffer.read()), 'cpu')"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program, *self.child_command], stdin=subprocess.PIPE, cwd=ROOT
        )
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(self.settings.for_worker().encode())
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def children_of(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def stand_ins() -> list[int]:
    """Pids of the stand-in children of this process, whichever thread started them."""
    found = []
    for thread in Path(f"/proc/{os.getpid()}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            for pid in map(int, (thread / "children").read_text().split()):
                if STAND_IN.name in Path(f"/proc/{pid}/cmdline").read_text():
                    found.append(pid)
    return found
