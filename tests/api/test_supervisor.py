"""The supervisor with a real child process, which runs `stand_in_child.py` instead of an engine."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from api import supervisor as supervisor_module
from api.blobs import DiskFull, LocalBlobs, input_key
from api.errors import StoreUnavailable
from api.settings import Settings
from api.store import SqlTaskStore, open_store
from api.supervisor import Supervisor
from api.tasks import Lease, TaskRecord, TaskStatus
from tests.api.store_contract import new_task, output

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
        self.blobs = LocalBlobs(self.settings.data_dir / "blobs")

    def put(self, behave: str = "finish", *, num_images: int = 1, **params: Any) -> str:
        task = new_task(
            num_images=num_images,
            params={"behave": behave, "BatchSize": num_images, **params},
        )
        key = input_key(task.uid, "foreground")
        self.blobs.put(key, b"foreground")
        self.store.put(new_task(task.uid, **_without_uid(task, inputs={"foreground": key})))
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
            pipe.write(self.settings.model_dump_json().encode())
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _without_uid(task: Any, **changes: Any) -> dict[str, Any]:
    names = [name for name in type(task).__slots__ if name != "uid"]
    return {**{name: getattr(task, name) for name in names}, **changes}


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


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    services: list[Service] = []

    def make(**changes: Any) -> Service:
        services.append(Service(tmp_path, **changes))
        return services[-1]

    yield make
    for service in services:
        service.store.close()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service()


# --- publishing ---


def test_a_finished_task_is_published_once_with_all_its_images(service):
    uid = service.put(num_images=3)

    with service.supervisor():
        record = service.wait(uid)

    assert record.status is TaskStatus.SUCCEEDED
    assert [each.image_index for each in record.outputs] == [0, 1, 2]
    assert [each.seed for each in record.outputs] == [7, 8, 9]
    for each in record.outputs:
        data = service.blobs.get(each.blob_key)
        assert hashlib.sha256(data).hexdigest() == each.sha256
        assert len(data) == each.size_bytes
        assert data.startswith(f"PNG of {uid} {each.image_index}".encode())
        assert (each.mime, each.width_px, each.height_px) == ("image/png", 8, 6)
    assert service.output_files() == [each.blob_key for each in record.outputs]
    assert service.starts(uid) == 1


def test_many_tasks_are_each_run_once(service):
    uids = [service.put() for _ in range(30)]

    with service.supervisor():
        records = [service.wait(uid) for uid in uids]

    assert {record.status for record in records} == {TaskStatus.SUCCEEDED}
    assert {service.starts(uid) for uid in uids} == {1}
    assert len(service.output_files()) == 30


def test_a_failed_task_keeps_its_good_images(service):
    uid = service.put("fail", num_images=2)

    with service.supervisor():
        record = service.wait(uid)

    assert record.status is TaskStatus.FAILED
    assert (record.error_code, record.error_text) == (1205, "image 2 of 2: not finite")
    assert [each.image_index for each in record.outputs] == [0]
    assert service.starts(uid) == 1


def test_an_undecodable_image_is_named(service):
    uid = service.put("bad_image")

    with service.supervisor():
        assert service.wait(uid).error_code == 1204


def test_a_success_with_an_image_missing_is_a_failure(service):
    uid = service.put("short", num_images=2)

    with service.supervisor():
        record = service.wait(uid)

    assert (record.status, record.error_code) == (TaskStatus.FAILED, 1205)
    assert record.error_text == "only 1 of 2 images were made"


def test_a_missing_input_fails_its_task_alone(service):
    lost, found = service.put(), service.put()
    service.blobs.delete([service.record(lost).inputs["foreground"]])

    with service.supervisor():
        assert service.wait(found).status is TaskStatus.SUCCEEDED
        record = service.wait(lost)

    assert (record.status, record.error_code) == (TaskStatus.FAILED, 1204)
    assert service.starts(lost) == 0


def test_progress_is_stored_while_a_task_runs(make_service):
    service = make_service(lease_s=0.6)
    uid = service.put(num_images=4, pause_s=0.4)

    with service.supervisor():
        service.until(lambda: 0.2 < service.record(uid).progress < 1)
        assert service.record(uid).stage == "denoising"
        assert service.wait(uid).status is TaskStatus.SUCCEEDED


def test_a_long_task_keeps_its_lease(make_service):
    service = make_service(lease_s=0.6)
    uid = service.put(pause_s=2.0)

    with service.supervisor():
        record = service.wait(uid)

    assert (record.status, record.token) == (TaskStatus.SUCCEEDED, 1)


# --- crashes ---


def test_a_killed_child_is_replaced_and_its_task_published_once(service):
    uid = service.put(num_images=2, pause_s=0.3)

    with service.supervisor():
        service.until(lambda: len(service.output_files()) == 1)  # in mid-task
        (child,) = stand_ins()
        os.kill(child, signal.SIGKILL)
        record = service.wait(uid)

    assert record.status is TaskStatus.SUCCEEDED
    assert (record.attempts, record.token) == (2, 2)
    assert service.output_files() == [each.blob_key for each in record.outputs]
    assert all("/t2/" in each.blob_key for each in record.outputs)


def test_the_spare_takes_over_and_is_replaced(make_service):
    service = make_service(warm_spare=True)
    uid = service.put(num_images=2, pause_s=0.3)

    with service.supervisor():
        service.wait(uid, TaskStatus.RUNNING)
        service.until(lambda: len(stand_ins()) == 2)
        working, spare = sorted(stand_ins())
        os.kill(working, signal.SIGKILL)
        service.wait(uid)
        service.until(lambda: len(stand_ins()) == 2)
        assert spare in stand_ins()

    image = service.blobs.get(service.record(uid).outputs[0].blob_key)
    assert f"by {spare}".encode() in image


def test_a_poison_task_ends_as_an_error_after_three_starts(service):
    uid = service.put("kill")

    with service.supervisor():
        record = service.wait(uid)

    assert (record.status, record.error_code) == (TaskStatus.FAILED, 1205)
    assert "worker lost" in record.error_text
    assert service.starts(uid) == record.attempts == 3
    assert service.output_files() == []


def test_the_neighbours_of_a_poison_task_finish(service):
    poison = service.put("kill", pause_s=0.2)
    neighbours = [service.put(num_images=2, pause_s=0.2) for _ in range(3)]

    with service.supervisor():
        records = [service.wait(uid) for uid in neighbours]
        assert service.wait(poison).status is TaskStatus.FAILED

    assert {record.status for record in records} == {TaskStatus.SUCCEEDED}
    assert {service.starts(uid) for uid in neighbours} == {2}  # one start shared with the poison
    assert service.starts(poison) == 3
    published = [each.blob_key for record in records for each in record.outputs]
    assert service.output_files() == sorted(published)


def test_a_hanging_child_is_killed_and_its_task_ends(make_service):
    service = make_service(child_silence_s=2.0, max_attempts=1)
    uid = service.put("hang")

    with service.supervisor():
        record = service.wait(uid)

    assert (record.status, record.attempts) == (TaskStatus.FAILED, 1)


def test_an_idle_child_may_be_silent(make_service):
    service = make_service(child_silence_s=2.0)

    with service.supervisor():
        service.wait(service.put())
        children = stand_ins()
        time.sleep(2.3)
        assert stand_ins() == children


def test_a_child_that_never_starts_is_not_started_in_a_loop(service, caplog):
    uid = service.put()

    with service.supervisor(child_command=[*service.child_command, "never_ready"]):
        service.until(lambda: caplog.text.count("exit code 3") == 2)
        time.sleep(0.3)

    assert caplog.text.count("exit code 3") == 2
    assert "the next start is in 0.5 s" in caplog.text
    assert "the next start is in 1.0 s" in caplog.text
    assert service.record(uid).attempts == 0


# --- cancel ---


def test_a_queued_task_is_canceled_and_never_started(make_service):
    service = make_service(max_tasks_per_worker=1)
    running, queued = service.put(pause_s=0.5), service.put()

    with service.supervisor():
        service.wait(running, TaskStatus.RUNNING)
        assert service.store.cancel(queued, tenant="alice") is TaskStatus.CANCELED
        service.wait(running)

    assert service.record(queued).status is TaskStatus.CANCELED
    assert service.starts(queued) == 0


def test_a_running_task_is_canceled_and_its_images_deleted(service):
    canceled = service.put(num_images=3, pause_s=0.4)
    neighbour = service.put(pause_s=1.0)

    with service.supervisor():
        service.until(lambda: len(service.output_files()) == 1)
        assert service.store.cancel(canceled, tenant="alice") is TaskStatus.RUNNING
        record = service.wait(canceled, timeout_s=3)
        assert service.wait(neighbour).status is TaskStatus.SUCCEEDED

    assert (record.status, record.error_code) == (TaskStatus.CANCELED, 1206)
    assert record.outputs == ()
    assert service.output_files() == [service.record(neighbour).outputs[0].blob_key]


# --- stopping, freezing, dying ---


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
        (record,) = service.store.claim(owner="w2", limit=1, lease_s=60, solo_allowed=True)
        service.store.finish(Lease(uid, "w2", record.token), [output(uid, token=record.token)])
        published = service.record(uid)

        frozen.send_signal(signal.SIGCONT)
        after = service.put()
        service.wait(after)  # it works on, with the old result behind it

        assert service.record(uid) == published
        kept = service.record(after).outputs[0].blob_key
        service.until(lambda: service.output_files() == [kept])


def test_two_supervisors_share_the_work(service):
    uids = [service.put(pause_s=0.05) for _ in range(20)]

    with service.supervisor(), service.supervisor():
        records = [service.wait(uid) for uid in uids]

    assert {record.status for record in records} == {TaskStatus.SUCCEEDED}
    assert {service.starts(uid) for uid in uids} == {1}


def test_owners_are_new_for_every_start(service):
    owners = {
        Supervisor(service.store, service.blobs, service.settings, "cpu").owner for _ in range(3)
    }

    assert len(owners) == 3


# --- faults around it ---


class FullOnce(LocalBlobs):
    """A disk that is full for the first image."""

    was_full = False

    def put(self, key: str, data: bytes) -> None:
        if key.startswith("out/") and not self.was_full:
            self.was_full = True
            raise DiskFull(f"no room for {key}")
        super().put(key, data)


def test_a_full_disk_delays_a_task_and_does_not_lose_it(service, monkeypatch):
    monkeypatch.setattr(supervisor_module, "DISK_FULL_DELAY_S", 0.3)
    uid = service.put(num_images=2, pause_s=0.05)

    with service.supervisor(blobs=FullOnce(service.settings.data_dir / "blobs")):
        record = service.wait(uid)

    assert (record.status, record.attempts, record.solo) == (TaskStatus.SUCCEEDED, 1, False)
    assert service.starts(uid) == 2


def test_nothing_is_started_without_room_for_its_result(service):
    class Full(LocalBlobs):
        def free_bytes(self) -> int:
            return 1000

    uid = service.put()
    with service.supervisor(blobs=Full(service.settings.data_dir / "blobs")):
        service.until(lambda: len(stand_ins()) == 1)
        time.sleep(0.5)

    assert service.record(uid).attempts == 0


def test_a_store_that_is_away_for_a_moment_costs_nothing(service, monkeypatch):
    monkeypatch.setattr(supervisor_module, "RETRY_S", 0.05)
    failures = {"claim": 2, "finish": 2, "beat": 1, "sweep": 1, "purge": 1}

    class Flaky(SqlTaskStore):
        """Each of these methods fails at first, as on a locked database."""

        def __getattribute__(self, name: str) -> Any:
            if failures.get(name, 0):
                failures[name] -= 1
                raise StoreUnavailable(f"{name}: database is locked")
            return super().__getattribute__(name)

    uid = service.put(num_images=2)
    with service.supervisor(store=Flaky(service.store.database)):
        record = service.wait(uid)

    assert (record.status, record.attempts) == (TaskStatus.SUCCEEDED, 1)
    assert failures["finish"] == 0


def test_expired_images_are_deleted(make_service, monkeypatch):
    monkeypatch.setattr(supervisor_module, "PURGE_PERIOD_S", 0.1)
    service = make_service(images_keep_s=0.2)
    uid = service.put()

    with service.supervisor():
        assert service.wait(uid).status is TaskStatus.SUCCEEDED
        service.until(lambda: not service.record(uid).outputs)
        service.until(lambda: not service.blob_files())

    assert service.record(uid).status is TaskStatus.SUCCEEDED


def test_big_messages_both_ways_do_not_block_each_other(service):
    """More than a socket's buffer in either direction, at the same time."""
    uids = []
    for _ in range(6):
        uid = service.put(num_images=2)
        service.blobs.put(service.record(uid).inputs["foreground"], b"x" * 8_000_000)
        uids.append(uid)

    with service.supervisor():
        assert {service.wait(uid).status for uid in uids} == {TaskStatus.SUCCEEDED}


# --- the process ---


def test_a_supervisor_imports_no_heavy_library():
    program = (
        "import sys, api.supervisor\n"
        "heavy = {'torch', 'numpy', 'PIL', 'diffusers', 'transformers', 'fastapi', 'scipy'}\n"
        "sys.exit(f'{heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )

    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_settings_reach_a_supervisor_process_whole(tmp_path):
    settings = Settings(
        data_dir=tmp_path / "d", lease_s=7.5, devices=["cpu"], keys=[SecretStr("a:secret")]
    )
    sent = settings.model_dump_json(exclude={"keys"})

    assert "secret" not in sent
    received = Settings.model_validate_json(sent)
    assert received.model_dump(exclude={"keys"}) == settings.model_dump(exclude={"keys"})


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

    while Path(f"/proc/{pid}").exists() and "Z (" not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
