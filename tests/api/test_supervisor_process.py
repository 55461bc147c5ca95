"""The supervisor's own process: what it is given, how it stops, freezes and dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pydantic import SecretStr

from api.settings import SECRETS, Settings
from api.supervisor import Supervisor, start_supervisor
from api.tasks import Claimant, Lease, TaskStatus
from tests.api.store_contract.stored import output
from tests.api.supervised import ROOT, children_of


def test_a_supervisor_imports_no_heavy_library():
    program = (
        "import sys, api.supervisor\n"
        "heavy = {'torch', 'numpy', 'PIL', 'diffusers', 'transformers', 'fastapi', 'scipy'}\n"
        "sys.exit(f'{heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )

    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_settings_reach_a_supervisor_process_whole(tmp_path):
    settings = Settings(
        data_dir=tmp_path / "d",
        lease_s=7.5,
        devices=["cpu"],
        keys=[SecretStr("a:private")],
        key_secrets=[SecretStr("f" * 64)],
        database_url=SecretStr("postgresql://user:password@host/name"),
        s3_access_key_id=SecretStr("id"),
        s3_secret_access_key=SecretStr("for the store"),
    )
    sent = settings.for_worker()

    assert "private" not in sent
    assert "ffff" not in sent
    assert "for the store" in sent
    assert "for the store" not in f"{settings.model_dump_json()} {settings!r}"
    received = Settings.model_validate_json(sent)
    assert received.model_dump(exclude={*SECRETS}) == settings.model_dump(exclude={*SECRETS})


def test_a_supervisors_environment_holds_no_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("BACKDROP_KEYS", "a:private")
    monkeypatch.setenv("BACKDROP_KEY_SECRETS", "f" * 64)
    process = start_supervisor(Settings(data_dir=tmp_path, models=Path("none.yaml")), "cpu")
    environment = Path(f"/proc/{process.pid}/environ")
    deadline = time.monotonic() + 10
    while not (shown := environment.read_bytes()):  # empty until the program is loaded
        assert time.monotonic() < deadline
    process.kill()
    process.wait()

    assert b"PATH=" in shown
    assert b"BACKDROP_KEY" not in shown


def test_a_started_supervisor_ends_with_the_process_that_started_it(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from api.settings import Settings\n"
        "from api.supervisor import start_supervisor\n"
        "settings = Settings(data_dir=Path(sys.argv[1]), models=Path('none.yaml'))\n"
        "print(start_supervisor(settings, 'cpu').pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    with parent.stdout as pipe:
        pid = int(pipe.readline())
    deadline = time.monotonic() + 20
    while not (tmp_path / "backdrop.sqlite3").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)

    parent.kill()
    parent.wait()

    while not has_ended(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_supervisor_does_not_outlive_a_parent_that_dies_at_once(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from api.settings import Settings\n"
        "from api.supervisor import start_supervisor\n"
        "print(start_supervisor(Settings(data_dir=Path(sys.argv[1])), 'cpu').pid, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    with parent.stdout as pipe:
        pid = int(pipe.readline())
    parent.wait()
    deadline = time.monotonic() + 20
    try:
        while not has_ended(pid):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def has_ended(pid: int) -> bool:
    """Whether the process is gone or waits to be reaped."""
    try:
        return "Z (" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_stopped_supervisor_gives_its_tasks_back(make_service):
    service = make_service(lease_s=60)
    uid = service.put(pause_s=30)
    with service.supervisor_process() as process:
        service.until(lambda: service.starts(uid) == 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0

    record = service.record(uid)
    assert (record.status, record.attempts, record.solo) == (TaskStatus.QUEUED, 0, False)


def test_a_killed_supervisor_loses_no_task(make_service):
    service = make_service(lease_s=1.0)
    uid = service.put(num_images=2, pause_s=0.5)
    with service.supervisor_process() as process:
        service.until(lambda: len(service.output_files()) == 1)
        (child,) = children_of(process.pid)
        process.kill()
        process.wait()
        service.until(lambda: not Path(f"/proc/{child}").exists())  # it saw the closed pipe

    with service.supervisor():
        record = service.wait(uid)

    assert (record.status, record.attempts) == (TaskStatus.SUCCEEDED, 2)
    assert service.output_files() == [each.blob_key for each in record.outputs]


def test_a_frozen_supervisor_cannot_publish_past_its_lease(make_service):
    service = make_service(lease_s=0.6)
    uid = service.put(pause_s=0.5)
    with service.supervisor_process() as frozen:
        service.wait(uid, TaskStatus.RUNNING)
        with service.store.database.write():  # not while it holds the lock itself
            frozen.send_signal(signal.SIGSTOP)
            service.until(lambda: " T " in Path(f"/proc/{frozen.pid}/stat").read_text())
        service.until(lambda: service.store.sweep() == [uid])
        (record,) = service.store.claim(Claimant("w2"), limit=1, lease_s=60)
        service.store.finish(Lease(uid, "w2", record.token), [output(uid, token=record.token)])
        published = service.record(uid)

        frozen.send_signal(signal.SIGCONT)
        after = service.put()
        service.wait(after)  # it works on, with the old result behind it

        assert service.record(uid) == published
        kept = service.record(after).outputs[0].blob_key
        service.until(lambda: service.output_files() == [kept])


def test_owners_are_new_for_every_start(service):
    owners = {
        Supervisor(service.store, service.blobs, service.settings, "cpu").owner for _ in range(3)
    }

    assert len(owners) == 3
