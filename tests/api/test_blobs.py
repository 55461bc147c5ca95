from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api import durable
from api.blobs import BlobNotFound, BlobUnavailable, DiskFull, LocalBlobs, open_blobs
from api.settings import Settings
from tests.api.blob_contract import BlobStoreContract

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


class TestLocalBlobs(BlobStoreContract):
    """The contract on a folder."""


def files_of(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_deleting_takes_the_blob_and_the_empty_folders(blobs, tmp_path):
    blobs.put("out/20260101/one/t1/0.png", b"x")
    blobs.put("out/20260101/two/t1/0.png", b"x")

    blobs.delete(["out/20260101/one/t1/0.png", "never/there", "out/20260101/one/t1/0.png"])

    assert [path.name for path in (tmp_path / "blobs" / "out" / "20260101").iterdir()] == ["two"]
    blobs.delete(["out/20260101/two/t1/0.png"])
    assert list((tmp_path / "blobs").iterdir()) == []
    blobs.put("out/20260101/one/t1/0.png", b"again")


def test_blobs_are_for_their_owner_only(blobs, tmp_path):
    blobs.put("in/20260101/uid/foreground", b"x")

    for path in (tmp_path / "blobs").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_what_a_killed_put_left_goes_with_its_key(blobs, tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from api.blobs import LocalBlobs\n"
        "blobs = LocalBlobs(Path(sys.argv[1])); blobs.put('a/b/d', b'x')\n"
        "os.fsync = lambda _: os.kill(os.getpid(), 9); blobs.put('a/b/c', b'x')"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "blobs"], cwd=ROOT, check=False)
    assert len(files_of(tmp_path)) == 2

    with pytest.raises(BlobNotFound):
        blobs.get("a/b/c")
    blobs.delete(["a/b/c"])

    assert [path.name for path in files_of(tmp_path)] == ["d"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_file_and_new_folders_are_synced_in_order(tmp_path):
    program = (
        "import sys; from pathlib import Path; from api.blobs import LocalBlobs\n"
        "LocalBlobs(Path(sys.argv[1])).put('a/b/c', b'x' * 10)"
    )
    traced = subprocess.run(
        ["strace", "-y", "-e", "trace=fsync,rename,mkdir", sys.executable, "-c", program, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    calls = [line for line in traced.stderr.splitlines() if str(tmp_path) in line]

    assert [line.split("(")[0] for line in calls] == [
        *("mkdir", "fsync", "mkdir", "fsync", "fsync", "rename", "fsync")
    ]


def test_syncs_come_before_and_after_the_rename(blobs, monkeypatch):
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        calls.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def noting_replace(self: Path, target: Path) -> Path:
        calls.append(f"rename to {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    blobs.put("a/b/c", b"x")

    assert calls[:2] == ["sync blobs", "sync a"]  # the entries of the new folders a and b
    assert calls[2].startswith("sync .c.")
    assert calls[3:] == ["rename to c", "sync b"]


def test_a_folder_of_another_maker_counts_once_its_entry_is_synced(tmp_path, monkeypatch):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)

    durable.make_folder(folder)
    assert synced[-2:] == [tmp_path, tmp_path / "a"]
    synced.clear()
    durable.make_folder(folder)
    assert synced == []

    durable.remove_folder(folder)
    folder.mkdir()
    durable.make_folder(folder)
    assert synced == [tmp_path / "a"]


def test_a_thread_waits_for_the_sync_of_a_folder_that_another_makes(tmp_path, monkeypatch):
    durable.make_folder(tmp_path)
    syncing, go_on = threading.Event(), threading.Event()

    def slow_sync(_folder: Path) -> None:
        syncing.set()
        assert go_on.wait(20)

    monkeypatch.setattr(durable, "sync_folder", slow_sync)
    with ThreadPoolExecutor(2) as pool:
        maker = pool.submit(durable.make_folder, tmp_path / "a")
        assert syncing.wait(20)
        assert (tmp_path / "a").is_dir()
        finder = pool.submit(durable.make_folder, tmp_path / "a")
        time.sleep(0.1)
        finished_early = finder.done()
        go_on.set()
        maker.result(20)
        finder.result(20)

    assert not finished_early


def test_a_file_that_cannot_grow_leaves_nothing_behind(tmp_path):
    """A real write that stops half-way: the process may write no file above 64 KiB."""
    program = (
        "import sys; from pathlib import Path; from api.blobs import DiskFull, LocalBlobs\n"
        "blobs = LocalBlobs(Path(sys.argv[1])); blobs.put('a/fits', b'x' * 1000)\n"
        "try: blobs.put('a/big', b'x' * 1_000_000)\n"
        "except DiskFull as exc: print('full:', exc)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "blobs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)),
    )

    assert result.stdout == "full: cannot write a/big: no room\n"
    assert [path.name for path in files_of(tmp_path)] == ["fits"]


def test_a_full_disk_leaves_nothing_behind():
    """The same on a file system of 256 KiB, in a mount namespace of its own."""
    program = (
        "import os, subprocess, sys; from pathlib import Path\n"
        "from api.blobs import DiskFull, LocalBlobs\n"
        "subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', '/mnt'], check=True)\n"
        "blobs = LocalBlobs(Path('/mnt/blobs')); blobs.put('a/fits', b'x' * 1000)\n"
        "try: blobs.put('b/big', b'x' * 1_000_000)\n"
        "except DiskFull as exc: print(exc)\n"
        "print(*(p.name for p in Path('/mnt').rglob('*') if p.is_file()))\n"
        "print(blobs.free_bytes() < 256 * 1024)\n"
        "blobs.put('b/small', b'x' * 1000); print(len(blobs.get('b/small')))"
    )
    unshare = ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"]).returncode != 0:
        pytest.skip("needs a mount namespace")
    result = subprocess.run(
        [*unshare, sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout.splitlines() == ["cannot write b/big: no room", "fits", "True", "1000"]


def test_a_disk_that_has_become_read_only_is_called_so():
    program = (
        "import subprocess; from pathlib import Path\n"
        "from api.blobs import BlobUnavailable, DiskFull, LocalBlobs\n"
        "subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], check=True)\n"
        "blobs = LocalBlobs(Path('/mnt/blobs')); blobs.put('a/b', b'x')\n"
        "subprocess.run(['mount', '-o', 'remount,ro', '/mnt'], check=True)\n"
        "for use in (lambda: blobs.put('a/c', b'y'), lambda: blobs.delete(['a/b'])):\n"
        "    try: use()\n"
        "    except BlobUnavailable as exc: print(isinstance(exc, DiskFull), exc)\n"
        "print(blobs.get('a/b'), blobs.free_bytes() > 0)"
    )
    unshare = ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"]).returncode != 0:
        pytest.skip("needs a mount namespace")
    result = subprocess.run(
        [*unshare, sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines() == [
        "False cannot write a/c: Read-only file system",
        "False cannot delete: Read-only file system",
        "b'x' True",
    ]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_named_wherever_it_is_noticed(blobs, tmp_path, monkeypatch, code):
    def no_room(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_room)
        with pytest.raises(DiskFull):
            blobs.put("top", b"x")

    assert files_of(tmp_path) == []


def test_other_faults_are_not_called_a_full_disk(blobs, monkeypatch):
    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(BlobUnavailable, match="I/O error") as caught:
        blobs.put("top", b"x")

    assert not isinstance(caught.value, DiskFull)


def test_free_space_is_that_of_the_disk(blobs, tmp_path):
    free = shutil.disk_usage(tmp_path).free

    assert blobs.free_bytes() == pytest.approx(free, abs=2**30)


def test_the_settings_name_the_folder(tmp_path):
    open_blobs(Settings(data_dir=tmp_path / "data")).put("a", b"x")

    assert (tmp_path / "data" / "blobs" / "a").read_bytes() == b"x"
