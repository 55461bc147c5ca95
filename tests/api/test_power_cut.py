"""Law 2 through a power cut at every system call: an accepted task is whole, a published one too.

A real run is traced once. At each point of it several disks are made up: with nothing of what was
not synced yet, with all of it, with that of the database or of the images alone, and with parts
drawn by chance. The real store is opened on each.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.blobs import BlobNotFound, LocalBlobs
from api.errors import TaskStoreError
from api.store import SqlTaskStore
from api.tasks import TaskStatus
from tests.api.power_cut import Call, Change, Disk, Keep, Tree, record, write_out
from tests.api.wire import png

ROOT = Path(__file__).resolve().parents[2]
SHARED_MEMORY = ("-shm",)  # rebuilt from the log; SQLite writes it through memory, never syncs it
ROLLS = 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Call]]:
    """The folder of a traced run and its calls."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    folder = tmp_path_factory.mktemp("run")
    program = [sys.executable, str(ROOT / "tests/api/durable_run.py"), str(folder / "data")]
    (folder / "data").mkdir()
    return str(folder / "data"), record(program, folder / "log", cwd=ROOT)


def broken_promises(root: str, calls: list[Call], place: Path) -> Iterator[str]:
    """What is wrong on any of the disks that a cut may leave."""
    disk = Disk(root, ignored=SHARED_MEMORY)
    promised: list[str] = []
    seen: set[tuple[int, Tree]] = set()
    dice = random.Random(1)
    for number, call in enumerate(calls):
        if call.name == "write" and call.arguments.startswith("1<"):
            promised += call.data.decode().splitlines()
        elif not disk.follow(call):
            continue
        for name, keep in cuts(dice, is_sync=call.name.endswith("sync")):
            survivor = disk.survivor(keep)
            if (len(promised), survivor) in seen:
                continue
            seen.add((len(promised), survivor))
            target = place / "disk"
            write_out(survivor, target)
            wrong = [
                f"call {number} ({call.name}), {name} kept: {w}" for w in faults(target, promised)
            ]
            shutil.rmtree(target)
            if wrong:
                yield from wrong
                return


def cuts(dice: random.Random, *, is_sync: bool) -> Iterator[tuple[str, Keep]]:
    """Between two syncs only the changes that may be kept become more."""
    yield "all", lambda _: True
    if not is_sync:
        return
    yield "nothing", lambda _: False
    yield "database", lambda change: "sqlite3" in change.path
    yield "images", lambda change: "sqlite3" not in change.path
    for roll in range(ROLLS):
        kept: dict[int, bool] = {}

        def some(change: Change, kept: dict[int, bool] = kept) -> bool:
            return kept.setdefault(id(change), dice.random() < 0.5)

        yield f"part {roll}", some


def faults(folder: Path, promised: list[str]) -> Iterator[str]:
    blobs = LocalBlobs(folder / "blobs")
    try:
        store = SqlTaskStore(f"sqlite:///{folder / 'tasks.sqlite3'}")
    except TaskStoreError as exc:
        yield str(exc)
        return
    try:
        with store.database.read() as connection:
            uids = connection.exec_driver_sql("SELECT uid FROM tasks").scalars().all()
            checked = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
            if checked != "ok":
                yield f"the database: {checked}"
        for promise in promised:
            kind, uid = promise.split()
            found = store.get(uid)
            if found is None:
                yield f"{promise}, but it is not stored"
            elif kind == "published" and found.status is not TaskStatus.SUCCEEDED:
                yield f"{promise}, but it is {found.status}"
        for uid in uids:
            yield from task_faults(store, blobs, uid)
    finally:
        store.close()


def task_faults(store: SqlTaskStore, blobs: LocalBlobs, uid: str) -> Iterator[str]:
    record = store.get(uid)
    assert record is not None
    try:
        if blobs.get(record.inputs["foreground"]) != png():
            yield f"the input of {uid} is not what was sent"
        for output in record.outputs:
            digest = hashlib.sha256(blobs.get(output.blob_key)).hexdigest()
            if digest != output.sha256:
                yield f"an image of {uid} is not what was published"
    except BlobNotFound as exc:
        yield f"{uid} has lost {exc}"


@pytest.fixture
def place() -> Iterator[Path]:
    """Where disks are made up: in memory, since opening a store waits for many syncs."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def test_a_power_cut_at_any_call_breaks_no_promise(run, place):
    root, calls = run
    assert sum(call.arguments.startswith("1<") for call in calls if call.name == "write") == 5
    assert list(broken_promises(root, calls, place)) == []


@pytest.mark.parametrize("what", ["of a blob", "of a blob's folder", "of the database"])
def test_one_kind_of_sync_left_out_is_noticed(run, place, what):
    root, calls = run

    def is_left_out(call: Call) -> bool:
        if not call.name.endswith("sync"):
            return False
        path = call.paths[0]
        is_blob, is_folder = "/blobs" in path, "." not in Path(path).name
        if what == "of the database":
            return not is_blob
        return is_blob and is_folder == (what == "of a blob's folder")

    fewer = [call for call in calls if not is_left_out(call)]
    assert len(fewer) < len(calls)
    assert list(broken_promises(root, fewer, place)) != []
